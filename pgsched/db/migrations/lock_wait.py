"""Changes the schema under running workers: gives up a lock that it does not get at once, and tries again.

A session that waits for an exclusive lock blocks everybody who comes after it. So it waits for a few seconds at most,
however long the holder's transaction runs, and lets the workers through before the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from psycopg import errors

from pgsched.db.connection import DbConnection
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import SchemaLocked

Result = TypeVar("Result")

LOCK_SECONDS = 2.0
"""How long one attempt waits for a lock, and everybody else behind it. Shorter than any worker's timeout."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between attempts."""


def retry_locked(
    connection: DbConnection, change: Callable[[], Result], *, seconds: float, on_wait: Callable[[str], None]
) -> Result:
    """Make a change, in a transaction that it starts itself, repeatedly until it gets its locks.

    ``on_wait`` receives the holders at every failed attempt. Raises SchemaLocked after this many ``seconds``.
    """
    deadline = monotonic() + seconds
    pause = FIRST_PAUSE
    while True:
        try:
            return change()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            holders = _describe_holders(connection)
        left = deadline - monotonic()
        if left <= 0:
            raise SchemaLocked(f"the schema could not be changed for {seconds:g} s: {holders}")
        on_wait(f"waiting to change the schema: {holders}")
        sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE)


def limit_lock_wait(connection: DbConnection) -> None:
    """Let the started transaction wait for each lock only briefly."""
    connection.execute(load_statement("limit_lock_wait"), {"milliseconds": round(LOCK_SECONDS * 1000)})


def _describe_holders(connection: DbConnection) -> str:
    found = connection.execute(load_statement("list_lock_holders")).fetchall()
    return "; ".join(_describe(*row) for row in found) or "whoever had its tables locked has just let go"


def _describe(pid: int | None, name: str | None, state: str | None, seconds: float | None, tables: list[str]) -> str:
    who = "a prepared transaction" if pid is None else f"process {pid} of the server ({name or 'no application_name'}"
    if pid is not None:
        who += f", {state or 'of another role'})"
    since = "" if seconds is None else f" for {seconds:.0f} s"
    return f"{who} has had {', '.join(tables)} locked{since}"
