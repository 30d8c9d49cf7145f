"""Statements about the whole table: partitions, counts, health, rows that are set aside. None is on the hot path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from pgsched.db.queries.diagnostics import FRONT, LATE_SECONDS
from pgsched.db.session import Session, by_column
from pgsched.db.sql_files import load_statement

MOST_SET_ASIDE = 100_000
MOST_DIED = 10_001
"""Maximum number of tasks that died within the last hour to count."""
HISTORY = 100_000
"""Number of history rows that are searched for the durations of a type."""


class TaskCount(NamedTuple):
    """Rows of one queue in one status."""

    queue: str
    status: str
    rows: int
    due: int
    """Those of them that are due and wait."""
    oldest_due: float | None
    """Seconds for which the oldest due row has waited; None when none is due."""


class Health(NamedTuple):
    """Problems of a PostgreSQL that holds a queue."""

    dead_tuples: int
    oldest_xmin_age: float
    """Age in seconds of the oldest transaction that keeps dead rows from being removed."""
    notification_queue: float
    """Share of the notification queue in use, 0 to 1."""


class Watched(NamedTuple):
    """What the workers know about the whole."""

    workers: int
    """Living ones."""
    stalled: int
    """Schedules that should have run :data:`LATE_SECONDS` ago."""
    set_aside: int
    """Tasks that workers have set aside, at most :data:`MOST_SET_ASIDE`."""
    findings: list[dict[str, str]]
    """The last findings of the watchdog."""


class Turn(NamedTuple):
    """The turn to look for problems."""

    before: list[dict[str, str]]
    """The findings of the last scan."""
    complete: bool
    """Whether all checks are to run."""


class Troubled(NamedTuple):
    """Tasks of one type in a queue that need attention."""

    kind: str
    """``unhandled``: due, and no live worker knows their type; ``silent``: no success for as long as they allow;
    ``running``: an attempt for longer than they allow; ``died``: within the last hour."""
    queue: str
    task_type: str
    rows: int


class SetAsideNote(NamedTuple):
    """A task that a worker has set aside."""

    task_id: int
    task_type: str
    queue: str
    operation: str
    """``claim`` or ``finish``."""
    reason: str
    tries: int
    ago: float
    """Seconds since the first attempt."""


async def make_partitions(session: Session) -> None:
    """Create the history's partitions of the coming days."""
    await session.fetch(load_statement("make_partitions"))


async def expire_tasks(session: Session, most: int) -> tuple[int, float | None]:
    """Cancel up to ``most`` expired tasks; return how many, and seconds until the next one may expire."""
    ((number, next_in),) = await session.fetch(load_statement("expire_tasks"), most=most)
    return number, next_in


async def list_announced_queues(session: Session) -> frozenset[str]:
    """Return the queues whose events other programs are told."""
    return frozenset(row[0] for row in await session.fetch(load_statement("list_announced_queues")))


async def count_tasks(session: Session) -> list[TaskCount]:
    """Count the waiting, running and dead rows, by queue."""
    return [TaskCount._make(row) for row in await session.fetch(load_statement("count_tasks"))]


async def count_troubled(session: Session) -> list[Troubled]:
    """Count the tasks that need attention."""
    return [Troubled._make(row) for row in await session.fetch(load_statement("count_troubled"), cap=MOST_DIED)]


async def check_health(session: Session) -> Health:
    """Read the server's health."""
    rows = await session.fetch(load_statement("check_health"))
    return Health._make(rows[0]) if rows else Health(0, 0.0, 0.0)


async def read_findings(session: Session) -> Watched:
    """Read what is known of workers, schedules and troubles, without searching for more."""
    rows = await session.fetch(load_statement("read_findings"), late=LATE_SECONDS, cap=FRONT, most=MOST_SET_ASIDE)
    return Watched._make(rows[0]) if rows else Watched(0, 0, 0, [])


async def begin_watch(session: Session, worker: UUID, every: float, complete: float) -> Turn | None:
    """Take the turn to scan; None when somebody has within ``every`` s. ``complete``: how often all checks run."""
    rows = await session.fetch(load_statement("begin_watch"), worker=worker, every=every, complete=complete)
    return Turn._make(rows[0]) if rows else None


async def note_successes(session: Session) -> None:
    """Record the last success of each task with an alert for missing successes."""
    await session.fetch(load_statement("note_successes"))


async def note_findings(
    session: Session, worker: UUID, findings: Sequence[Mapping[str, str]], *, complete: bool
) -> None:
    """Show all workers the findings of a scan, which was ``complete`` or not."""
    found = json.dumps(list(findings))
    await session.fetch(load_statement("note_findings"), worker=worker, findings=found, complete=complete)


async def measure_type(session: Session, task_type: str, *, share: float, enough: int) -> float | None:
    """Return the maximum duration in seconds of a ``share`` of a type's latest attempts; None for too few.

    Raises DatabaseUnavailable.
    """
    statement = load_statement("measure_type")
    rows = await session.fetch(statement, task_type=task_type, share=share, enough=enough, cap=HISTORY)
    return float(rows[0][0]) if rows and rows[0][0] is not None else None


async def note_set_aside(session: Session, worker: UUID, notes: Sequence[SetAsideNote]) -> None:
    """Show the tasks that a worker has set aside."""
    names = ("ids", "task_types", "queues", "operations", "reasons", "tries", "ago")
    await session.fetch(load_statement("note_set_aside"), worker=worker, **by_column(notes, *names))


async def forget_set_aside(session: Session, worker: UUID, ids: Sequence[int]) -> None:
    """Remove tasks from that list."""
    await session.fetch(load_statement("forget_set_aside"), worker=worker, ids=list(ids))


MOST_COUNTED = 50_000
"""Maximum number of due tasks of a queue to count; more are estimated."""


async def note_backlogs(session: Session) -> None:
    """Record how many tasks of each queue are due, unless somebody has within the minute."""
    await session.fetch(load_statement("note_backlogs"), cap=MOST_COUNTED)
