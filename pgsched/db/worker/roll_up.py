"""Statements that aggregate the history for pages: one step is one transaction. None is on the hot path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pgsched.db.connection import AsyncDbConnection
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.domain.error_groups import MAX_HEADLINE

MOST_HEADLINES = 5_000
"""Maximum number of different errors that one step reads; the rest is counted as others."""


class Step(NamedTuple):
    """One step of counting."""

    stage: int | None
    """0 for new history; 1 to 3 for what was committed late; None when there is nothing to do."""
    begins: datetime | None
    ends: datetime | None
    number: int | None
    """Attempts that ended in this period."""
    grown: list[datetime] | None
    """Buckets that were written."""
    failed: int | None
    """Attempts in them that failed."""


class FoundError(NamedTuple):
    """Equal errors of one type and queue in one bucket."""

    bucket: datetime
    task_type: str
    queue: str
    headline: str | None
    """None for several errors together, whatever their messages."""
    number: int
    first_seen: datetime
    last_seen: datetime
    task_id: int | None


async def take_turn(session: Session, worker: UUID, every: float) -> bool:
    """Take the turn to count for a number of seconds; False when another worker has it."""
    rows = await session.fetch(load_statement("take_roll_up_turn"), worker=worker, every=every)
    return bool(rows and rows[0][0])


async def count_step(connection: AsyncDbConnection, minutes: int) -> Step:
    """Count the next piece, of a limited number of minutes, in a transaction of the caller."""
    cursor = await connection.execute(load_statement("roll_up"), {"minutes": minutes}, prepare=False)
    return Step._make(await _only(cursor))


async def list_errors(connection: AsyncDbConnection, buckets: Sequence[datetime]) -> list[FoundError]:
    """Return what attempts failed with in these buckets."""
    given = {"buckets": list(buckets), "headline": MAX_HEADLINE, "most": MOST_HEADLINES}
    cursor = await connection.execute(load_statement("list_errors_to_group"), given, prepare=False)
    return [FoundError._make(row) for row in await cursor.fetchall()]


async def note_errors(
    connection: AsyncDbConnection, buckets: Sequence[datetime], errors: Sequence[Mapping[str, Any]]
) -> None:
    """Write the errors of these buckets."""
    given = {"buckets": list(buckets), "errors": json.dumps(list(errors))}
    await connection.execute(load_statement("note_errors"), given, prepare=False)


async def prune(connection: AsyncDbConnection) -> int:
    """Delete counts beyond their retention; return how many."""
    cursor = await connection.execute(load_statement("prune_roll_ups"), {}, prepare=False)
    return int((await _only(cursor))[0])


async def _only(cursor: Any) -> Any:
    (row,) = await cursor.fetchall()
    return row
