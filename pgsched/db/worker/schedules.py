"""Schedules that are declared in code, and the database's rules of time zones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.domain.scheduling.time_zones import Rules
from pgsched.domain.task_spec import json_values


class Declared(NamedTuple):
    """The outcome of one declaration."""

    outcome: str
    """``added``, ``changed`` or ``unchanged``."""
    was_edited: bool
    """Whether the row was no longer what the code had last declared."""


class DeclaredRow(NamedTuple):
    """A row that some code has declared."""

    id: int
    task_type: str
    task_name: str | None
    idempotency_key: str
    enabled: bool
    is_alive: bool
    """Whether the code of a live worker declares it."""


class Moved(NamedTuple):
    """A time zone whose rules have changed in the database."""

    zone: str
    schedules: int
    """Number of schedules whose next tick the new rules have moved."""


async def declare(session: Session, columns: dict[str, Any]) -> Declared:
    """Insert a declared schedule, or update its row when the declaration has changed."""
    given = json_values({name: value for name, value in columns.items() if value is not None})
    rows = await session.fetch(load_statement("declare_schedule"), declaration=json.dumps(given))
    return Declared._make(rows[0])


async def list_declared(session: Session) -> list[DeclaredRow]:
    """Return every row that some code has declared."""
    return [DeclaredRow._make(row) for row in await session.fetch(load_statement("list_declared"))]


async def disable_declared(session: Session, ids: Sequence[int]) -> None:
    """Pause rows that no code declares any more."""
    await session.fetch(load_statement("disable_declared"), ids=list(ids))


async def follow_zones(session: Session) -> list[Moved]:
    """Apply the database's rules to scheduled ticks; return the zones whose rules have changed."""
    return [Moved._make(row) for row in await session.fetch(load_statement("follow_zones"))]


async def read_zones(session: Session, zones: Sequence[str]) -> list[Rules]:
    """Return the database's rules of those zones that it knows."""
    return [Rules._make(row) for row in await session.fetch(load_statement("read_zones"), zones=list(zones))]
