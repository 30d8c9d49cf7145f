"""Why a task or a queue waits: judged from facts, by rules that a claim follows, too; and when a backlog is drained."""
