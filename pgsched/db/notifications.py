"""LISTEN: inserts wake sleeping workers, cancels reach running tasks, and events are announced to other programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, LiteralString, NamedTuple

import psycopg

from pgsched.db.connection import connect, connect_async, is_standby
from pgsched.db.error_mapping import one_line
from pgsched.domain.errors import DatabaseUnavailable

WORK, CANCEL, QUEUES = "pgsched", "pgsched_cancel", "pgsched_queues"
EMITTED = "pgsched_emitted"
"""For a running durable run: an event was sent to it, or a child of it has ended."""
WORKERS = "pgsched_workers"
"""A request to a worker to pause, to drain or to work again; the payload is its id."""
EVENTS = "pgsched_events"
"""What happened to tasks, for other programs."""
PROBE_SECONDS = 60.0
"""After this long without a notification the connection is tested: the peer may have vanished."""
PROBE_TIMEOUT = 10.0


class Notification(NamedTuple):
    """One notification."""

    channel: str
    payload: str


class BehindPooler(DatabaseUnavailable):
    """LISTEN needs a session of its own, but there is a pooler in between."""


class OnStandby(DatabaseUnavailable):
    """LISTEN needs a primary, but the server is a standby."""


async def listen(
    dsn: str,
    *,
    on_ready: Callable[[], None],
    on_notification: Callable[[Notification], None],
    channels: tuple[LiteralString, ...] = (WORK, CANCEL, QUEUES, EMITTED, WORKERS),
    chosen: bool = False,
) -> None:
    """Listen until cancelled. ``on_ready`` is called once LISTEN is in force: look for work only after that.

    Raises DatabaseUnavailable when the connection breaks; BehindPooler, OnStandby when nothing would arrive.
    ``chosen``: the user declared that this DSN keeps sessions.
    """
    try:
        connection = await connect_async(dsn, application_name="pgsched listener")
        try:
            if connection.pooled and not chosen:
                raise BehindPooler("a pooler answers, which may pass no notifications on")
            if is_standby(connection):
                raise OnStandby("a standby takes no LISTEN")
            for channel in channels:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await connection.execute(f'listen "{channel}"')
            on_ready()
            while True:
                async for notify in connection.notifies(timeout=PROBE_SECONDS):
                    on_notification(Notification(notify.channel, notify.payload))
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await connection.execute("select 1")
        finally:
            await connection.close()
    except psycopg.Error as error:
        raise DatabaseUnavailable(one_line(error)) from error
    except TimeoutError as error:
        raise DatabaseUnavailable("the connection is silent") from error


def follow(dsn: str, *, on_ready: Callable[[], None], timeout: float | None = None) -> Iterator[dict[str, Any]]:
    """Yield events as they are committed, forever or until none arrived for ``timeout`` seconds.

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
            connection.answer_timeout = PROBE_TIMEOUT  # a peer may have vanished without notice
            connection.execute("select 1")
            connection.answer_timeout = inf
    except psycopg.Error as error:
        raise DatabaseUnavailable(one_line(error)) from error
    finally:
        connection.close()


def _read(payload: str) -> dict[str, Any] | None:
    """Return an event; None for what another program sent through the channel."""
    try:
        event = json.loads(payload)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
