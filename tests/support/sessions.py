"""Sessions of the database beside one another, of which one waits for a lock of the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from pgsched.db.connection import connect
from tests.support.waiting import wait_until

Connection = psycopg.Connection[Any]


@contextmanager
def transaction(dsn: str) -> Iterator[Connection]:
    with connect(dsn) as connection:
        connection.autocommit = False
        yield connection


def in_background(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def wait_until_blocked(db: psycopg.Connection[dict[str, Any]]) -> None:
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    wait_until(
        lambda: db.execute(waiting).rowcount > 0,
        message="one session waits for the other",
    )
