"""Says when something changed: one look at the database a second for all who watch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.web")

POLL_SECONDS = 1.0


class Watch:
    """Says when something changed. It looks while somebody watches, and not otherwise."""

    def __init__(self, look: Callable[[], Awaitable[int]], *, seconds: float = POLL_SECONDS) -> None:
        self._look = look
        self._seconds = seconds
        self._watchers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def join(self) -> asyncio.Event:
        """Return an event that is set after each change; whoever waits for it clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return event

    def leave(self, event: asyncio.Event) -> None:
        """Watch no more; the last one ends the looking."""
        self._watchers.discard(event)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End the looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        seen: int | None = None
        while True:
            try:
                now = await self._look()
            except PgschedError as error:
                log.warning("watch_failed", error=str(error))
                seen = None
            else:
                if seen is None or now != seen:
                    seen = now
                    for event in self._watchers:
                        event.set()
            await asyncio.sleep(self._seconds)
