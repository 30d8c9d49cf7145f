# Generated from async_databases.py by `make sync`: change that file instead.
"""Client methods for the database itself: whether the tasks belong to it."""

from __future__ import annotations

from pgsched.db.database import Database
from pgsched.db.queries import databases as database_commands
from pgsched.domain.database_state import DatabaseState


class DatabaseClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def database_state(self) -> DatabaseState:
        """Return whether the tasks belong to this database, or to another one of which it is a copy."""
        return self._database.run(database_commands.get_state())

    def adopt_database(self, *, adopted_by: str | None = None) -> bool:
        """Let the tasks belong to this database: workers start here and run them, even if the original runs them too.

        Also ends a hold. Return whether that changed anything.
        """
        return self._database.run(database_commands.adopt(adopted_by))

    def hold_database(self, *, held_by: str | None = None) -> bool:
        """Keep workers from starting in this database until it is adopted; those that run continue.

        For a copy of a whole server, which cannot be told from the original. Return whether that changed anything.
        """
        return self._database.run(database_commands.hold(held_by))
