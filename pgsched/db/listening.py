"""LISTEN: inserts wake sleeping workers, cancels reach busy ones, and tasks tell other programs what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import LiteralString, NamedTuple

import psycopg

from pgsched.db.connect import connect_async
from pgsched.db.faults import one_line
from pgsched.db.standby import is_standby
from pgsched.domain.errors import DatabaseUnavailable

WORK, CANCEL, QUEUES = "pgsched", "pgsched_cancel", "pgsched_queues"
EVENTS = "pgsched_events"
"""What happened to tasks, for other programs."""
PROBE_SECONDS = 60.0
"""After so long without a word the connection is tried: a peer may have vanished."""
PROBE_TIMEOUT = 10.0


class Notification(NamedTuple):
    """One notification."""

    channel: str
    payload: str


class BehindPooler(DatabaseUnavailable):
    """LISTEN needs a session of its own, and there is a pooler in between."""


class OnStandby(DatabaseUnavailable):
    """LISTEN needs a primary, and the server is a standby."""


async def listen(
    dsn: str,
    *,
    on_ready: Callable[[], None],
    on_notification: Callable[[Notification], None],
    channels: tuple[LiteralString, ...] = (WORK, CANCEL, QUEUES),
    chosen: bool = False,
) -> None:
    """Listen until cancelled. ``on_ready`` is called once LISTEN is in force: look for work only after that.

    Raises DatabaseUnavailable when the connection breaks; BehindPooler, OnStandby when nothing would come.
    ``chosen``: whoever named this DSN for listening says that it keeps sessions.
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
