"""The clock of a test's database, which can be frozen and moved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from pgsched.db.connection import connect
from pgsched.db.dsn import resolve_dsn
from pgsched.db.error_mapping import translate
from pgsched.db.sql_files import load_statement


class MovableClock:
    """The clock's connection. Raises DatabaseUnavailable and PermissionRefused."""

    def __init__(self, dsn: str) -> None:
        """Give the database a movable clock; pgsched's open sessions reconnect."""
        resolved, self._leave = resolve_dsn(dsn)
        try:
            self._connection = connect(resolved, application_name="pgsched clock")
            self._run(load_statement("install_test_clock"))
            self._run(load_statement("end_own_sessions"), {})
        except BaseException:
            self._leave()
            raise

    def read(self) -> tuple[datetime, bool]:
        """Return what it shows, and whether it stands still."""
        now, frozen = self._run(load_statement("read_test_clock"), {})[0]
        return now, frozen

    def set(self, at: datetime | None, by: str, *, runs: bool) -> None:
        """Set it to a moment (None: the one it shows) plus an interval; it ``runs`` on or stands still."""
        self._run(load_statement("set_test_clock"), {"at": at, "by": by, "runs": runs})

    def release(self) -> None:
        """Show the real time again."""
        self._run(load_statement("release_test_clock"), {})

    def next_due(self, task_types: list[str], queues: list[str], patterns: list[str]) -> datetime | None:
        """Return when the next row is due, of some task_types and queues."""
        params = {"task_types": task_types, "queues": queues, "patterns": patterns}
        due: datetime | None = self._run(load_statement("find_next_due"), params)[0][0]
        return due

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._leave()

    def _run(self, statement: Any, params: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(statement, params)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise translate(error) from None
