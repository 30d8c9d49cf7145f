"""Why a task or a queue waits, judged by the same rules as a claim, and when a backlog will be drained."""
