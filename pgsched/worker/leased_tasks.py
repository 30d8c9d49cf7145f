"""The rows that this worker has leased, from the claim until the finish is written or the row released."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Protocol

from pgsched.domain.attempt import Claimed, Finish, Missed
from pgsched.execution.context import Context

WAITING, RUNNING, FINISHING, ABANDONED = "waiting", "running", "finishing", "abandoned"
"""The states of a held row. For an abandoned one, whose lease was lost or whose task was cancelled, nothing is
written, whatever its handler still does."""
BEGIN, END, ABANDON = "begin", "end", "abandon"
MOVES = {
    (WAITING, BEGIN): RUNNING,
    (WAITING, END): FINISHING,  # it will not be run
    (RUNNING, END): FINISHING,
    (FINISHING, BEGIN): RUNNING,  # the transaction that was to end it is abandoned
    (FINISHING, END): FINISHING,  # with another outcome than the one that could not be committed
    **{(state, ABANDON): ABANDONED for state in (WAITING, RUNNING, FINISHING)},
    **{(ABANDONED, event): ABANDONED for event in (BEGIN, END, ABANDON)},
}
"""The transition that each event causes in each state."""
MANY = 2**31
REMEMBERED = 10_000
"""Maximum number of recently given-up task ids to remember."""


class OpenBatch(Protocol):
    """Rows that one transaction has locked."""

    def end(self, leased: LeasedTask, finish: Finish) -> None:
        """Take the outcome of an attempt, to be written in that transaction or after it."""


class LeasedTask:
    """One held row."""

    __slots__ = (
        "__weakref__",
        "batch",
        "claimed_at",
        "context",
        "ends_by",
        "in_advance",
        "leased_until",
        "missed",
        "slot",
        "started_at",
        "state",
        "task",
    )

    def __init__(self, task: Claimed, leased_until: float, claimed_at: float) -> None:
        self.task = task
        self.claimed_at = claimed_at
        """When the claim was sent, by the monotonic clock."""
        self.leased_until = leased_until
        """When the lease ends, by the monotonic clock, counted from before the claim was sent: never too late."""
        self.state = WAITING
        self.in_advance = False
        """The table does not know yet whether the attempt started: if the worker is lost, it does not count."""
        self.batch: OpenBatch | None = None
        """The batch that has locked the row; None once it is leased."""
        self.slot: asyncio.Task[None] | None = None
        self.context: Context | None = None
        self.started_at: float | None = None
        """When the handler started, by the monotonic clock."""
        self.ends_by: float | None = None
        """When the handler should have ended: its timeout, or when the row was given up. None for no limit."""
        self.missed: tuple[Missed, ...] = ()
        """Ticks that were folded into this run."""

    @property
    def abandoned(self) -> bool:
        """Whether nothing more is written for it."""
        return self.state == ABANDONED

    def move(self, event: str) -> None:
        """Apply an event. Raises ValueError when the state does not allow it."""
        moved = MOVES.get((self.state, event))
        if moved is None:
            raise ValueError(f"task {self.task.id}: a row in hand that is {self.state} knows no {event}")
        self.state = moved


CURRENT_ATTEMPT: ContextVar[LeasedTask | None] = ContextVar("pgsched attempt", default=None)
"""The attempt of the running code, even after it has ended; None for code outside an attempt.

Set once in the task of each attempt. What a handler starts (tasks, ``asyncio.to_thread``) has a copy of its context.
"""


class LeasedTasks:
    """Every held row. All changes are made on the event loop; the heartbeat's thread only takes snapshots."""

    def __init__(self) -> None:
        self._by_id: dict[int, LeasedTask] = {}
        self.waiting: deque[LeasedTask] = deque()
        """Claimed and not started, in the order in which they will start."""
        self.bytes = 0
        """Size of all payloads in hand."""
        self.given_up: dict[int, None] = {}
        """Ids of rows that were let go during their attempt, although the lease may still be ours: the attempt was
        made, so none of them is given back as one that never started."""

        self.outlived: set[LeasedTask] = set()
        """Rows whose end is in the table, or will be, while their handlers continue: cancelled, lost or timed out."""

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, tasks: Sequence[Claimed], leased_until: float, claimed_at: float = 0.0, free: int = MANY) -> None:
        """Hold newly claimed rows, all but the first ``free`` as prefetched."""
        for place, task in enumerate(tasks):
            leased = self.take(task, leased_until, claimed_at)
            leased.in_advance = place >= free
            self.waiting.append(leased)

    def add_locked(self, tasks: Sequence[Claimed], batch: OpenBatch, claimed_at: float) -> list[LeasedTask]:
        """Hold rows that a batch has locked; they have no leases that could expire."""
        held = []
        for task in tasks:
            leased = self.take(task, inf, claimed_at)
            leased.batch = batch
            held.append(leased)
        self.waiting.extend(held)
        return held

    def lose(self, leased: LeasedTask) -> None:
        """Let go of a row whose lock is lost, whatever its handler still does."""
        if leased.state == RUNNING:
            self.abandon(leased)
        leased.move(ABANDON)
        self.drop(leased)

    def take(self, task: Claimed, leased_until: float, claimed_at: float) -> LeasedTask:
        """Hold a newly claimed row, without a place in the waiting line.

        One that was already held had lost its lease unnoticed: its handler must not run beside the new one, and its
        unwritten outcome must not be taken for the new one's. Tokens do not distinguish them where a failover or a
        truncated table restarted the sequence.
        """
        earlier = self._by_id.get(task.id)
        if earlier is not None:
            self.abandon(earlier)
            earlier.move(ABANDON)
            self.drop(earlier)
        leased = self._by_id[task.id] = LeasedTask(task, leased_until, claimed_at)
        self.given_up.pop(task.id, None)
        self.bytes += task.bytes
        return leased

    def drop(self, leased: LeasedTask) -> None:
        """Let go of a row: finished, released or lost."""
        if self._by_id.get(leased.task.id) is leased:
            del self._by_id[leased.task.id]
            self.bytes -= leased.task.bytes

    def give_up(self, leased: LeasedTask) -> None:
        """Let go of a row whose attempt was made, without an outcome: the next claim finds it lost."""
        leased.move(ABANDON)
        leased.ends_by = monotonic()
        self.drop(leased)
        self.outlived.add(leased)
        self.given_up[leased.task.id] = None
        if len(self.given_up) > REMEMBERED:
            del self.given_up[next(iter(self.given_up))]

    def get(self, task_id: int) -> LeasedTask | None:
        """Return the hold on a task, None when this worker has none."""
        return self._by_id.get(task_id)

    def snapshot(self) -> list[LeasedTask]:
        """Return every hold; safe to call from any thread (one operation of the interpreter)."""
        return list(self._by_id.values())

    def take_waiting(self) -> list[LeasedTask]:
        """Empty the waiting line and return its holds."""
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting

    def abandon(self, leased: LeasedTask) -> None:
        """Give up a row that is no longer ours: cancel its handler, write nothing."""
        if leased.state == FINISHING or leased.abandoned:
            return
        if leased.state != RUNNING:
            leased.move(ABANDON)
            self.drop(leased)
        else:
            self.give_up(leased)
            if leased.context is not None:
                leased.context.cancelled = True
            if leased.slot is not None:
                leased.slot.cancel()
