"""Schedules declared in code, kept in step with the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.domain.task_spec import json_values


class Declared(NamedTuple):
    """What became of one declaration."""

    outcome: str
    """``added``, ``changed`` or ``unchanged``."""
    was_edited: bool
    """The row was no longer what the code had last declared."""


class DeclaredRow(NamedTuple):
    """A row that some code has declared."""

    id: int
    task_type: str
    task_name: str | None
    idempotency_key: str
    enabled: bool
    is_alive: bool
    """The code of a living worker declares it."""


async def declare(session: Session, columns: dict[str, Any]) -> Declared:
    """Insert a declared schedule, or bring its row in step when the code says something new."""
    given = json_values({name: value for name, value in columns.items() if value is not None})
    cursor = await session.execute(load_statement("declare_schedule"), {"declaration": json.dumps(given)})
    rows = await cursor.fetchall()
    return Declared._make(rows[0])


async def list_declared(session: Session) -> list[DeclaredRow]:
    """Return every row that some code has declared."""
    cursor = await session.execute(load_statement("list_declared"), {})
    return [DeclaredRow._make(row) for row in await cursor.fetchall()]


async def disable_declared(session: Session, ids: Sequence[int]) -> None:
    """Pause rows that no code declares any more."""
    await session.execute(load_statement("disable_declared"), {"ids": list(ids)})
