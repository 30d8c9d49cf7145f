"""What a handler has reported about its attempt and is not yet written."""

from __future__ import annotations

from pgsched.db.worker.completions import LogEntry, Progress
from pgsched.domain.attempt import LogLine
from pgsched.worker.leased_tasks import LeasedTask


class Report:
    """The unwritten reports of a handler: its progress and log lines."""

    def __init__(self, leased: LeasedTask) -> None:
        """Take them from its context."""
        self.leased = leased
        self._progress: str | None = None
        self._lines: list[LogLine] = []
        if leased.context is not None:
            self._progress, self._lines = leased.context.take_report()

    def __len__(self) -> int:
        return len(self._lines) + (self._progress is not None)

    def progress(self) -> list[Progress]:
        """The progress, if it reported any."""
        task = self.leased.task
        return [] if self._progress is None else [Progress(task.id, task.fencing_token, self._progress)]

    def logs(self) -> list[LogEntry]:
        """The lines."""
        task = self.leased.task
        return [LogEntry(task.id, task.fencing_token, task.attempts, line) for line in self._lines]

    def give_back(self) -> None:
        """Keep them for the next attempt to write them."""
        if self.leased.context is not None:
            self.leased.context.give_back(self._progress, self._lines)
