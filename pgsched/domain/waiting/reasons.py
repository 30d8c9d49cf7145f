"""What a judgement says: reasons, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.records import Record, WorkerInfo
from pgsched.domain.waiting.backlog import Forecast

READY: Final = "ready"
OVER: Final = ("completed", "cancelled", "dead")
SOFT: Final = frozenset({"slots_full", "behind"})
"""Reasons that pass by themselves as workers go on: nothing keeps the task from being claimed but others before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerName(Record):
    """Which worker it is."""

    id: str
    hostname: str
    pid: int


def names_of(workers: Sequence[WorkerInfo]) -> list[WorkerName]:
    """Return who these workers are."""
    return [WorkerName(id=str(one.id), hostname=one.hostname, pid=one.pid) for one in workers[:5]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Record):
    """One thing that keeps a task, or a queue, waiting."""

    kind: str
    """A word for programs, as ``queue_paused``; docs/waiting.md lists them."""
    text: str
    """The same for people."""
    since: datetime | None = None
    until: datetime | None = None
    """When it is over by itself, as far as that is known."""
    task_ids: list[int]
    """The tasks that it is about: those waited for, or those that use up a limit; some of them, if they are many."""
    workers: list[WorkerName]
    command: str | None = None
    """What would end it, as a command of pgsched; None: nothing is to be done, or nothing simple."""


def reason(
    kind: str,
    text: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tasks: Sequence[int] = (),
    workers: Sequence[WorkerInfo] = (),
    command: str | None = None,
) -> Reason:
    """Return a reason."""
    return Reason(
        kind=kind,
        text=text,
        since=since,
        until=until,
        task_ids=list(tasks),
        workers=names_of(workers),
        command=command,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Why(Record):
    """Why a task waits; the reason that has to go first comes first."""

    task_id: int
    task_type: str
    queue: str
    status: str
    is_ready: bool
    """Nothing keeps it: the next claim of a worker takes it."""
    summary: str
    """The first reason in words, or that it is ready."""
    reasons: list[Reason]
    ahead: int | None
    """How many tasks are claimed before it; None where that is not known, as where keys take turns."""
    ahead_is_capped: bool
    """There are that many at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyQueue(Record):
    """Why the tasks of a queue wait."""

    queue: str
    is_ready: bool
    """Nothing keeps a task that is due from being claimed."""
    summary: str
    reasons: list[Reason]
    due: int
    """Tasks that are due and do not run, of the first rows of the queue."""
    due_is_capped: bool
    oldest_due_at: datetime | None
    forecast: Forecast
