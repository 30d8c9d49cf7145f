"""Events of tasks, as workers send them by NOTIFY: one connection listens for all subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.notifications import EVENTS, BehindPooler, Notification, OnStandby, listen
from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.web")

MAX_WAITING: Final = 1000
"""Maximum number of events that wait for a subscriber; a slower one is disconnected."""
RETRY_SECONDS: Final = 1.0
POOLER_SECONDS: Final = 60.0
"""Interval of retries where a pooler or a standby answers, which do not forward notifications."""

Event = dict[str, Any]
LISTENING: Final[Event] = {"event": "listening"}
"""The connection listens; earlier events are not delivered."""


class Subscription:
    """The events of one subscriber, in order."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue(MAX_WAITING + 1)
        self._ended = False

    async def next(self) -> Event | None:
        """Wait for the next event; None at the end: the server stops, or the subscriber was too slow."""
        return await self._waiting.get()

    def put(self, event: Event) -> None:
        """Add an event to the queue."""
        if not self._ended:
            if self._waiting.qsize() >= MAX_WAITING:
                self.end()
            else:
                self._waiting.put_nowait(event)

    def end(self) -> None:
        """End the stream."""
        if not self._ended:
            self._ended = True
            self._waiting.put_nowait(None)


class EventHub:
    """Listens for subscribers. After a lost connection it listens again and says so: events may be lost."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._listening = False
        self._closed = False

    @contextlib.asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Subscription]:
        """Yield the events from now on: first LISTENING, once the connection listens."""
        one = Subscription()
        self._subscriptions.add(one)
        if self._closed:
            one.end()
        elif self._listening:
            one.put(LISTENING)
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(), name="pgsched announcements")
        try:
            yield one
        finally:
            self._subscriptions.discard(one)
            if not self._subscriptions:
                await self._stop()

    async def close(self) -> None:
        """Close the streams and the connection, and accept no more."""
        self._closed = True
        for one in self._subscriptions:
            one.end()
        await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        self._listening = (
            False  # Immediately: a subscriber that comes while the connection is closed waits for the next one.
        )
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                await listen(
                    await self._database.address(),
                    on_ready=self._ready,
                    on_notification=self._called,
                    channels=(EVENTS,),
                )
            except PgschedError as error:
                self._listening = False
                log.warning("announcements_lost", reason=str(error))
                if isinstance(error, BehindPooler | OnStandby):
                    await asyncio.sleep(POOLER_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)

    def _ready(self) -> None:
        self._listening = True
        self._tell(LISTENING)

    def _called(self, call: Notification) -> None:
        try:
            event = json.loads(call.payload)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            self._tell(event)
        else:
            log.warning("announcement_unreadable")  # Any session may NOTIFY.

    def _tell(self, event: Event) -> None:
        for one in self._subscriptions:
            one.put(event)
