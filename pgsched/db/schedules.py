"""Schedules declared in code, kept in step with the table."""

from __future__ import annotations

from typing import Any

from pgsched.db.session import Session
from pgsched.db.statements import load_statement


async def declare(session: Session, schedule: dict[str, Any]) -> bool:
    """Insert a declared schedule or bring its row in step with the code; returns whether a row was written."""
    cursor = await session.execute(load_statement("declare_schedule"), schedule)
    return await cursor.fetchone() is not None
