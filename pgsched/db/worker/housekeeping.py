"""Statements about the whole table: partitions, counts, health, what is set aside. None is on the hot path."""

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
"""Number of history rows that are looked through for the durations of a type."""


class TaskCount(NamedTuple):
    """Rows of one queue in one status."""

    queue: str
    status: str
    rows: int
    due: int
    """Those of them that are due and wait."""
    oldest_due: float | None
    """Seconds the oldest due row waits; None when none is due."""


class Health(NamedTuple):
    """What ails a PostgreSQL that holds a queue."""

    dead_tuples: int
    oldest_xmin_age: float
    """Seconds since the oldest transaction began that keeps dead rows from being removed."""
    notification_queue: float
    """Share of the notification queue in use, 0 to 1."""


class Watched(NamedTuple):
    """What the workers know of all of it."""

    workers: int
    """Living ones."""
    stalled: int
    """Schedules that should have run :data:`LATE_SECONDS` ago."""
    set_aside: int
    """Tasks that workers have set aside, :data:`MOST_SET_ASIDE` at the most."""
    findings: list[dict[str, str]]
    """What the watchdog last found."""


class Turn(NamedTuple):
    """The turn to look what is wrong."""

    before: list[dict[str, str]]
    """What was found the last time."""
    complete: bool
    """Everything is to be looked at."""


class Troubled(NamedTuple):
    """Tasks of one type in a queue that somebody should look at."""

    kind: str
    """``unhandled``: due, and no living worker knows their type; ``silent``: no success for as long as they say;
    ``running``: an attempt for longer than they say; ``died``: within the last hour."""
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
    """Seconds since the first try."""


async def make_partitions(session: Session) -> None:
    """Make the history's partitions of the days to come."""
    await session.fetch(load_statement("make_partitions"))


async def expire_tasks(session: Session, most: int) -> tuple[int, float | None]:
    """Cancel up to ``most`` tasks that have not started in time; return how many, and seconds until one may expire."""
    ((number, next_in),) = await session.fetch(load_statement("expire_tasks"), most=most)
    return number, next_in


async def list_announced_queues(session: Session) -> frozenset[str]:
    """Return the queues whose events other programs are told."""
    return frozenset(row[0] for row in await session.fetch(load_statement("list_announced_queues")))


async def count_tasks(session: Session) -> list[TaskCount]:
    """Count the rows that wait, run or are dead, by queue."""
    return [TaskCount._make(row) for row in await session.fetch(load_statement("count_tasks"))]


async def count_troubled(session: Session) -> list[Troubled]:
    """Count the tasks that somebody should look at."""
    return [Troubled._make(row) for row in await session.fetch(load_statement("count_troubled"), cap=MOST_DIED)]


async def check_health(session: Session) -> Health:
    """Ask the server how it fares."""
    rows = await session.fetch(load_statement("check_health"))
    return Health._make(rows[0]) if rows else Health(0, 0.0, 0.0)


async def read_findings(session: Session) -> Watched:
    """Read what is known of workers, schedules and troubles, without looking for more."""
    rows = await session.fetch(load_statement("read_findings"), late=LATE_SECONDS, cap=FRONT, most=MOST_SET_ASIDE)
    return Watched._make(rows[0]) if rows else Watched(0, 0, 0, [])


async def begin_watch(session: Session, worker: UUID, every: float, complete: float) -> Turn | None:
    """Take the turn to look what is wrong; None: somebody did ``every`` s ago. ``complete``: how often at all of it."""
    rows = await session.fetch(load_statement("begin_watch"), worker=worker, every=every, complete=complete)
    return Turn._make(rows[0]) if rows else None


async def note_successes(session: Session) -> None:
    """Note the last success of each task that is to be told of when it has none for long."""
    await session.fetch(load_statement("note_successes"))


async def note_findings(
    session: Session, worker: UUID, findings: Sequence[Mapping[str, str]], *, complete: bool
) -> None:
    """Let all workers show what was found, by a look that was ``complete`` or not."""
    found = json.dumps(list(findings))
    await session.fetch(load_statement("note_findings"), worker=worker, findings=found, complete=complete)


async def measure_type(session: Session, task_type: str, *, share: float, enough: int) -> float | None:
    """Return how many seconds a ``share`` of a type's latest attempts took at the most; None: of fewer than ``enough``.

    Raises DatabaseUnavailable.
    """
    statement = load_statement("measure_type")
    rows = await session.fetch(statement, task_type=task_type, share=share, enough=enough, cap=HISTORY)
    return float(rows[0][0]) if rows and rows[0][0] is not None else None


async def note_set_aside(session: Session, worker: UUID, notes: Sequence[SetAsideNote]) -> None:
    """Show what a worker has set aside."""
    names = ("ids", "task_types", "queues", "operations", "reasons", "tries", "ago")
    await session.fetch(load_statement("note_set_aside"), worker=worker, **by_column(notes, *names))


async def forget_set_aside(session: Session, worker: UUID, ids: Sequence[int]) -> None:
    """Take tasks off that list."""
    await session.fetch(load_statement("forget_set_aside"), worker=worker, ids=list(ids))


MOST_COUNTED = 50_000
"""Due tasks of a queue that are counted; more are estimated."""


async def note_backlogs(session: Session) -> None:
    """Note how many tasks of each queue are due, unless somebody did within the minute."""
    await session.fetch(load_statement("note_backlogs"), cap=MOST_COUNTED)
