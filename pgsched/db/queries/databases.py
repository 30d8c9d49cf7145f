"""Commands about the database itself: whether the tasks belong to it. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from pgsched.db.query import Command, changed, command, row_as
from pgsched.domain.database_state import DatabaseState
from pgsched.domain.validation import optional, plain_text


def get_state() -> Command[DatabaseState]:
    """Read whether the tasks belong to this database."""
    return command("get_database_state", row_as(DatabaseState))


def adopt(adopted_by: str | None) -> Command[bool]:
    """Let the tasks belong to this database, and end a hold; returns whether that changed anything."""
    return command("adopt_database", changed, by=optional(plain_text)("adopted_by", adopted_by))


def hold(held_by: str | None) -> Command[bool]:
    """Keep workers from starting until somebody adopts the database; returns whether that changed anything."""
    return command("hold_database", changed, by=optional(plain_text)("held_by", held_by))
