"""What a handler has told of its attempt and is not written yet."""

from __future__ import annotations

from pgsched.db.outcomes import LogEntry, Progress
from pgsched.domain.attempt import LogLine
from pgsched.worker.leased_tasks import Hold


class Report:
    """The last words of a handler: its progress and log lines that are not written yet."""

    def __init__(self, hold: Hold) -> None:
        """Take them from its context."""
        self.hold = hold
        self._progress: str | None = None
        self._lines: list[LogLine] = []
        if hold.context is not None:
            self._progress, self._lines = hold.context.take_report()

    def __len__(self) -> int:
        return len(self._lines) + (self._progress is not None)

    def progress(self) -> list[Progress]:
        """The progress, if it showed any."""
        task = self.hold.task
        return [] if self._progress is None else [Progress(task.id, task.fencing_token, self._progress)]

    def logs(self) -> list[LogEntry]:
        """The lines."""
        task = self.hold.task
        return [LogEntry(task.id, task.fencing_token, task.attempts, line) for line in self._lines]

    def give_back(self) -> None:
        """Keep them for the next try: they were not written."""
        if self.hold.context is not None:
            self.hold.context.give_back(self._progress, self._lines)
