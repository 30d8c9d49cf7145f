"""Upcoming runs, computed once for all readers, and at most some seconds old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from pgsched.client.async_client import AsyncClient
from pgsched.client.async_schedules import answered
from pgsched.db.queries.upcoming import Found, asking
from pgsched.domain.planned_schedule import PlannedSchedule
from pgsched.domain.scheduling.timeline import Plan, Timeline, Waiting
from pgsched.domain.validation import Duration
from pgsched.web.services.cache import Cached

T = TypeVar("T")

SECONDS: Final = 10.0
MAX_KEPT: Final = 64
"""Pages of one plan whose pictures are cached."""
SPANS: Final = ("1h", "24h", "7d")
"""The periods that pages offer."""


class Ahead:
    """A plan, with its counters and everything derived from it."""

    def __init__(self, plan: Plan, found: Found) -> None:
        self.plan = plan
        self.found = found
        self._kept: dict[Hashable, Any] = {}

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the cached result of ``make`` for this key, so that all readers of a page share its pictures."""
        if key not in self._kept:
            made = make()
            if len(self._kept) >= MAX_KEPT:
                return made
            self._kept[key] = made
        found: T = self._kept[key]
        return found

    def timeline(
        self,
        *,
        queue: str | None = None,
        search: str | None = None,
        state: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> Timeline:
        """Return a filtered part; with a text or a state, one-time tasks are not counted."""
        text = (search or "").casefold()

        def fits(one: PlannedSchedule) -> bool:
            return (
                (queue is None or one.queue == queue)
                and (state is None or one.state == state)
                and (not text or text in f"{one.task_type} {one.task_name or ''} {one.id}".casefold())
            )

        waiting = self.found.waiting
        if text or state is not None:
            waiting = Waiting({}, True)
        elif queue is not None:
            chosen = {place: number for place, number in waiting.by_queue.items() if place[0] == queue}
            waiting = Waiting(chosen, waiting.complete)
        chosen_by = fits if text or queue is not None or state is not None else None
        return self.plan.timeline(waiting, self.found.rates, fits=chosen_by, offset=offset, limit=limit)


class Upcoming:
    """The plans of one app."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._plans = {within: self._cached(within) for within in SPANS}

    def _cached(self, within: str) -> Cached[Ahead]:
        return Cached(lambda: self._load(within), seconds=SECONDS)

    async def get(self, within: Duration) -> Ahead:
        """Return the plan for a period; those that pages offer are shared. Raises InvalidTask."""
        shared = self._plans.get(within) if isinstance(within, str) else None
        return await (self._load(within) if shared is None else shared.get())

    def forget(self) -> None:
        """Plan again on the next call: something was changed."""
        for plan in self._plans.values():
            plan.forget()

    async def close(self) -> None:
        """Cancel computations in progress."""
        for plan in self._plans.values():
            await plan.close()

    async def _load(self, within: Duration) -> Ahead:
        async with self._client.transaction() as one:
            found = await answered(one.database, asking(within))
        ahead = Ahead(await asyncio.to_thread(found.plan), found)  # Thousands of schedules take a while.
        await asyncio.to_thread(ahead.timeline)  # Sums that all readers share.
        return ahead
