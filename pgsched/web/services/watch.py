"""Detects changes: one query a second for all watchers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple

from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.web")

POLL_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 4.0
"""A database that has not answered within this time counts as down."""
ANYTHING: Final = "*"
"""Stands for every table: changes may have been missed."""


class Look(NamedTuple):
    """The state at one moment."""

    tables: Mapping[str, int]
    """A number per table that grows with each change of it."""
    tasks: Mapping[int, str]
    """A mark per watched task that differs after each change; none: the task does not exist."""


class News(NamedTuple):
    """The news for a watcher."""

    up: bool
    """Whether the database answers."""
    changed: list[str]
    """Names of tables, ``task:ID`` of the watched task, or :data:`ANYTHING`."""
    rate: int
    """Rows of tables that changed in the last second."""


class Watcher:
    """One watcher: the changes since it was last notified."""

    def __init__(self, task_id: int | None) -> None:
        self.task_id = task_id
        self.called = asyncio.Event()
        self.changed: set[str] = set()


class Watch:
    """Reports changes. It polls only while there are watchers.

    ``look`` gets the ids of the individually watched tasks: at most one of each watcher.
    """

    def __init__(
        self,
        look: Callable[[Collection[int]], Awaitable[Look]],
        *,
        seconds: float = POLL_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._up = True
        self._seen: Look | None = None
        self._rate = 0

    def __len__(self) -> int:
        """Return the number of watchers."""
        return len(self._watchers)

    def join(self, *, task_id: int | None = None) -> Watcher:
        """Return a watcher that is called after each change, and when the database goes down or comes back.

        Its first news is that anything may have changed: at once, or after the first poll. Without a poll to compare
        with, changes between its own read and that poll would never be reported.
        """
        watcher = Watcher(task_id)
        self._watchers.add(watcher)
        if self._task is None or self._task.done():
            self._up = True
            self._seen = None
            self._task = asyncio.create_task(self._run())
        elif self._seen is not None:
            self._call(watcher, {ANYTHING})
        elif not self._up:
            watcher.called.set()
        return watcher

    def take(self, watcher: Watcher) -> News:
        """Return the changes since the last call, and clear them."""
        changed, watcher.changed = watcher.changed, set()
        watcher.called.clear()
        return News(self._up, sorted(changed), self._rate)

    def leave(self, watcher: Watcher) -> None:
        """Stop watching; the last watcher stops the polling."""
        self._watchers.discard(watcher)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        seen_at = self._clock()
        while True:
            ids = {one.task_id for one in self._watchers if one.task_id is not None}
            try:
                async with asyncio.timeout(self._answer_seconds):
                    now = await self._look(ids)
            except (PgschedError, TimeoutError) as error:
                log.warning("watch_failed", error=str(error) or f"no answer within {self._answer_seconds:g} s")
                self._lose()
            else:
                at = self._clock()
                self._tell(self._seen, now, at - seen_at)
                self._seen, seen_at = now, at
            await asyncio.sleep(self._seconds)

    def _lose(self) -> None:
        self._seen = None
        if self._up:
            self._up = False
            for one in self._watchers:
                one.called.set()

    def _tell(self, seen: Look | None, now: Look, seconds: float) -> None:
        self._up = True
        if seen is None:
            for one in self._watchers:
                self._call(one, {ANYTHING})
            return
        tables = {name for name, number in now.tables.items() if number != seen.tables.get(name)}
        # Counters decrease after a reset of statistics.
        rows = sum(max(number - seen.tables.get(name, 0), 0) for name, number in now.tables.items())
        self._rate = round(rows / max(seconds, 0.001))
        tables |= seen.tables.keys() - now.tables.keys()
        for one in self._watchers:
            changed = set(tables)
            if one.task_id is not None and now.tasks.get(one.task_id) != seen.tasks.get(one.task_id):
                changed.add(f"task:{one.task_id}")
            self._call(one, changed)

    def _call(self, one: Watcher, changed: set[str]) -> None:
        one.changed |= changed
        if changed:
            one.called.set()
