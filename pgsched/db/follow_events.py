"""Following the events that workers tell other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import psycopg

from pgsched.db.connect import connect
from pgsched.db.faults import one_line
from pgsched.db.listening import PROBE_SECONDS, PROBE_TIMEOUT, BehindPooler
from pgsched.domain.errors import DatabaseUnavailable

EVENTS = "pgsched_events"


def follow(dsn: str, *, on_ready: Callable[[], None], timeout: float | None = None) -> Iterator[dict[str, Any]]:
    """Yield events as they are committed, for ever or until none came for ``timeout`` seconds.

    ``on_ready`` is called once LISTEN is in force. Raises DatabaseUnavailable when the connection breaks: what happens
    until the next call is missed.
    """
    connection = connect(dsn, application_name="pgsched events")
    try:
        if connection.pooled:
            raise BehindPooler("a pooler answers, which may pass no events on: --dsn must lead to the server itself")
        connection.execute(f'listen "{EVENTS}"')
        on_ready()
        while True:
            came = False
            for notify in connection.notifies(timeout=PROBE_SECONDS if timeout is None else timeout):
                came = True
                event = _read(notify.payload)
                if event is not None:
                    yield event
            if timeout is not None and not came:
                return
            connection.patience = PROBE_TIMEOUT  # a peer may have vanished without a word
            connection.execute("select 1")
            connection.patience = inf
    except psycopg.Error as error:
        raise DatabaseUnavailable(one_line(error)) from error
    finally:
        connection.close()


def _read(payload: str) -> dict[str, Any] | None:
    """An event; None for what somebody else sent through the channel."""
    try:
        event = json.loads(payload)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
