"""The result of a judgement: reasons, each with a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.records import Record
from pgsched.domain.waiting.backlog import Forecast
from pgsched.domain.worker_records import WorkerInfo

READY: Final = "ready"
OVER: Final = ("completed", "cancelled", "dead")
SOFT: Final = frozenset({"slots_full", "behind"})
"""Reasons that pass while workers proceed: nothing but other tasks before it delays the claim of the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerName(Record):
    """Identifies the worker."""

    id: str
    hostname: str
    pid: int


def names_of(workers: Sequence[WorkerInfo]) -> list[WorkerName]:
    """Return the identities of these workers."""
    return [WorkerName(id=str(one.id), hostname=one.hostname, pid=one.pid) for one in workers[:5]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Record):
    """One cause that keeps a task, or a queue, waiting."""

    kind: str
    """A word for programs, such as ``queue_paused``; docs/waiting.md lists them."""
    text: str
    """The same for people."""
    since: datetime | None = None
    until: datetime | None = None
    """When it passes by itself, as far as that is known."""
    task_ids: list[int]
    """The tasks involved: those waited for, or those that use up a limit; only some when there are many."""
    workers: list[WorkerName]
    command: str | None = None
    """A pgsched command that would remove the cause; None when nothing, or nothing simple, would."""


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
    """Why a task waits; the reason that must go first comes first."""

    task_id: int
    task_type: str
    queue: str
    status: str
    is_ready: bool
    """Whether the next claim of a worker takes it."""
    summary: str
    """The first reason in words, or that the task is ready."""
    reasons: list[Reason]
    ahead: int | None
    """How many tasks are claimed before it; None when unknown, as when keys take turns."""
    ahead_is_capped: bool
    """Whether that is a lower bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyQueue(Record):
    """Why the tasks of a queue wait."""

    queue: str
    is_ready: bool
    """Whether nothing prevents a due task from being claimed."""
    summary: str
    reasons: list[Reason]
    due: int
    """Due tasks that do not run, among the first rows of the queue."""
    due_is_capped: bool
    oldest_due_at: datetime | None
    forecast: Forecast
