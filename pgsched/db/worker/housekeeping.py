"""Statements about the whole table: partitions, counts, the health of the server. None is on the hot path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from pgsched.db.queries.diagnostics import FRONT, LATE_SECONDS
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement

MOST_SET_ASIDE = 100_000
"""Maximum number to count."""
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


async def make_partitions(session: Session) -> None:
    """Make the history's partitions of the days to come."""
    await session.execute(load_statement("make_partitions"), {})


async def list_announced_queues(session: Session) -> frozenset[str]:
    """Return the queues whose events other programs are told."""
    cursor = await session.execute(load_statement("list_announced_queues"), {})
    return frozenset(row[0] for row in await cursor.fetchall())


async def count_tasks(session: Session) -> list[TaskCount]:
    """Count the rows that wait, run or are dead, by queue."""
    cursor = await session.execute(load_statement("count_tasks"), {})
    return [TaskCount._make(row) for row in await cursor.fetchall()]


async def count_troubled(session: Session) -> list[Troubled]:
    """Count the tasks that somebody should look at."""
    cursor = await session.execute(load_statement("count_troubled"), {"cap": MOST_DIED})
    return [Troubled._make(row) for row in await cursor.fetchall()]


async def check_health(session: Session) -> Health:
    """Ask the server how it fares."""
    cursor = await session.execute(load_statement("check_health"), {})
    row = await cursor.fetchone()
    return Health._make(row) if row else Health(0, 0.0, 0.0)


async def read_findings(session: Session) -> Watched:
    """Read what is known of workers, schedules and troubles, without looking for more."""
    cursor = await session.execute(
        load_statement("read_findings"), {"late": LATE_SECONDS, "cap": FRONT, "most": MOST_SET_ASIDE}
    )
    row = await cursor.fetchone()
    return Watched._make(row) if row else Watched(0, 0, 0, [])


async def begin_watch(session: Session, worker: UUID, every: float, complete: float) -> Turn | None:
    """Take the turn to look what is wrong; None: somebody did ``every`` s ago. ``complete``: how often at all of it."""
    cursor = await session.execute(
        load_statement("begin_watch"), {"worker": worker, "every": every, "complete": complete}
    )
    row = await cursor.fetchone()
    return None if row is None else Turn._make(row)


async def note_successes(session: Session) -> None:
    """Note the last success of each task that is to be told of when it has none for long."""
    await session.execute(load_statement("note_successes"), {})


async def note_findings(
    session: Session, worker: UUID, findings: Sequence[Mapping[str, str]], *, complete: bool
) -> None:
    """Let all workers show what was found, by a look that was ``complete`` or not."""
    given = {"worker": worker, "findings": json.dumps(list(findings)), "complete": complete}
    await session.execute(load_statement("note_findings"), given)


async def measure_type(session: Session, task_type: str, *, share: float, enough: int) -> float | None:
    """Return how many seconds a ``share`` of a type's latest attempts took at the most; None: of fewer than ``enough``.

    Raises DatabaseUnavailable.
    """
    given = {"task_type": task_type, "share": share, "enough": enough, "cap": HISTORY}
    cursor = await session.execute(load_statement("measure_type"), given)
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else float(row[0])
