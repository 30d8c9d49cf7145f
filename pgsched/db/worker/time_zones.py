"""The rules of time zones by which ticks are booked: the database's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.domain.scheduling.time_zones import Rules


class Moved(NamedTuple):
    """A zone whose rules have changed in the database."""

    zone: str
    schedules: int
    """Number of schedules that the old rules had booked and the new ones book now."""


async def follow_zones(session: Session) -> list[Moved]:
    """Let what is booked follow the database's rules; return the zones where they have changed."""
    cursor = await session.execute(load_statement("follow_zones"), {})
    return [Moved._make(row) for row in await cursor.fetchall()]


async def read_zones(session: Session, zones: Sequence[str]) -> list[Rules]:
    """Return the database's rules of those zones that it knows."""
    cursor = await session.execute(load_statement("read_zones"), {"zones": list(zones)})
    rows: list[tuple[str, datetime, datetime, list[datetime], list[int]]] = await cursor.fetchall()
    return [Rules._make(row) for row in rows]
