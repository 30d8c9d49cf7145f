"""What the database knows about a waiting task, about its queue, and about the workers that could run it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pgsched.domain.worker_records import WorkerInfo

CATCH_ALL: Final = "*"
OWN_TYPES: Final = "pgsched."
"""Types with this prefix are pgsched's own; no catch-all handler takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A task that another one waits for."""

    id: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A worker failed to claim the task or to write its outcome, and will retry."""

    worker_id: UUID
    operation: str
    tries: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """A task with the facts of its row and its relatives."""

    now: datetime
    id: int
    task_type: str
    queue: str
    priority: int
    status: str
    enabled: bool
    schedule_type: str
    overlap: str
    next_run_at: datetime | None
    end_date: datetime | None
    expires_at: datetime | None
    """Its deadline to start; None once it has started, and for tasks that do not expire."""
    ended_at: datetime | None
    """When it completed, was cancelled or died."""
    started_at: datetime | None
    locked_by: UUID | None
    locked_until: datetime | None
    held_in_advance: bool
    attempts: int
    max_attempts: int
    note: str | None
    """Why it was postponed: ``failed``, ``snoozed``, ``newer_code``; None when it was not."""
    needs_version: str | None
    concurrency_key: str | None
    dependency_mode: str
    waiting_for: int
    upstream: list[Upstream]
    """The first of the tasks that it still waits for."""
    is_durable: bool
    awaits: list[str]
    """What ends the wait of a durable run, as event:NAME, child:ID and time."""
    wakes_at: datetime | None
    locked_by_transaction: bool
    """Whether another session has locked the row and has not committed."""
    set_aside: list[SetAside]

    @property
    def is_claimable(self) -> bool:
        """Whether the row itself may be claimed: the rule of ``pgsched.is_claimable``."""
        return (
            self.enabled
            and self.next_run_at is not None
            and self.next_run_at <= self.now
            and (self.locked_until is None or self.locked_until < self.now)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """A queue with its settings and the usage of its limits. None stands for no limit."""

    now: datetime
    name: str
    paused: bool
    paused_at: datetime | None
    paused_by: str | None
    ordering: str
    has_ageing: bool
    concurrency: int | None
    concurrency_used: int
    concurrency_per_key: int | None
    key_used: int
    rate: int | None
    rate_used: int
    rate_again_at: datetime | None
    """When the first of the counted starts leaves the window."""
    rate_per_key: int | None
    key_rate_used: int
    key_rate_again_at: datetime | None
    per: str
    """The window of the rates."""
    cost: int
    """The number of starts that the task counts as."""
    holders: list[int]
    """The first of the tasks that use the concurrency limit."""
    key_holders: list[int]

    @property
    def is_one_line(self) -> bool:
        """Whether the tasks form one line: no keys take turns, and tasks do not age."""
        return self.concurrency_per_key is None and self.rate_per_key is None and not self.has_ageing

    @property
    def has_limits(self) -> bool:
        """Whether the claims of others reduce what is left to claim."""
        limits = (self.concurrency, self.concurrency_per_key, self.rate, self.rate_per_key)
        return any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Tasks that a claim takes before this one."""

    number: int
    is_capped: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """The live workers, and what each could do for one type of one queue."""

    workers: list[WorkerInfo]
    queue: str
    task_type: str | None
    """None stands for any type."""

    @property
    def serving(self) -> list[WorkerInfo]:
        """The workers that serve the queue."""
        return [one for one in self.workers if one.alive and one.serves(self.queue)]

    @property
    def able(self) -> list[WorkerInfo]:
        """Those that have a handler for the type."""
        return [one for one in self.serving if self.task_type is None or self._handles(one, self.task_type)]

    @property
    def claiming(self) -> list[WorkerInfo]:
        """Those that claim: neither paused nor held up by a problem."""
        return [one for one in self.able if is_active(one) and not is_held_up(one)]

    @property
    def free(self) -> int:
        """Free slots of those that claim, as of their last heartbeats."""
        return sum(max(one.concurrency - one.running, 0) for one in self.claiming)

    def rival_types(self, queue: QueueFacts) -> list[str]:
        """The types whose tasks may be claimed before one of this type: those of the workers that claim it. For a queue
        with limits, those of all workers that claim from it, because they share what the limits leave.
        """
        rivals = self.claiming
        if queue.has_limits:
            rivals = [one for one in self.serving if is_active(one) and not is_held_up(one)]
        own = [] if self.task_type is None else [self.task_type]
        return sorted({*own, *(name for one in rivals for name in one.task_types)} - {CATCH_ALL})

    def _handles(self, worker: WorkerInfo, task_type: str) -> bool:
        if task_type in worker.task_types:
            return True
        if CATCH_ALL not in worker.task_types or task_type.startswith(OWN_TYPES):
            return False
        # As in find_unserved_types.sql: a catch-all leaves a type to any live worker of its queues that has a handler.
        return not any(
            other is not worker
            and other.alive
            and task_type in other.task_types
            and (other.serves(self.queue) or any(other.serves(name) for name in worker.queues))
            for other in self.workers
        )


def is_active(worker: WorkerInfo) -> bool:
    """Whether a worker is neither paused nor draining."""
    return worker.state in (None, "active")


def is_held_up(worker: WorkerInfo) -> bool:
    """Whether a problem keeps the worker from claiming."""
    return any(trouble.stops for trouble in worker.troubles)
