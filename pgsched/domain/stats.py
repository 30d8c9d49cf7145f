"""What ``pgsched stats`` shows: every queue, every worker, and what no worker can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pgsched.domain.records import QueueInfo, Record, StatusCount
from pgsched.domain.worker_records import WorkerInfo


class Unhandled(NamedTuple):
    """Due tasks of a type for which no live worker of their queue has a handler."""

    queue: str
    task_type: str
    due: int

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Record):
    """Every queue, every worker, and the due tasks that no worker can run."""

    statuses: list[StatusCount]
    queues: list[QueueInfo]
    workers: list[WorkerInfo]
    unhandled: list[Unhandled]
