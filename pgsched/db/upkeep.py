"""Statements about the whole table: partitions, counts, the health of the server. None is on the hot path."""

from __future__ import annotations

from typing import NamedTuple

from pgsched.db.session import Session
from pgsched.db.statements import load_statement


class TaskCount(NamedTuple):
    """Rows of one queue in one status."""

    queue: str
    status: str
    rows: int
    oldest_due: float | None
    """Seconds the oldest due row waits; None when none is due."""


class Health(NamedTuple):
    """What ails a PostgreSQL that holds a queue."""

    dead_tuples: int
    oldest_xmin_age: float
    """Seconds since the oldest transaction began that keeps dead rows from being removed."""
    notification_queue: float
    """Share of the notification queue in use, 0 to 1."""


class Unhandled(NamedTuple):
    """Due rows whose task_type no living worker knows."""

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


async def find_unhandled(session: Session) -> list[Unhandled]:
    """Count the due rows that no living worker can run."""
    cursor = await session.execute(load_statement("count_unhandled"), {})
    return [Unhandled._make(row) for row in await cursor.fetchall()]


async def check_health(session: Session) -> Health:
    """Ask the server how it fares."""
    cursor = await session.execute(load_statement("check_health"), {})
    row = await cursor.fetchone()
    return Health._make(row) if row else Health(0, 0.0, 0.0)
