"""What will run in the time ahead, computed once for all who look, and some seconds old at most."""

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
"""Pages of one plan whose pictures are kept."""
SPANS: Final = ("1h", "24h", "7d")
"""The times ahead that pages show."""


class Ahead:
    """A plan, with what is counted beside it, and what was made of it."""

    def __init__(self, plan: Plan, found: Found) -> None:
        self.plan = plan
        self.found = found
        self._kept: dict[Hashable, Any] = {}

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` has made for this key; so that all who look at one page share its pictures."""
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
        """Return a part of it: one-time tasks are not counted where a text or a state is asked for."""
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
        """Return the plan for a time ahead; those that pages show are shared. Raises InvalidTask."""
        shared = self._plans.get(within) if isinstance(within, str) else None
        return await (self._load(within) if shared is None else shared.get())

    def forget(self) -> None:
        """Plan afresh the next time: something was changed."""
        for plan in self._plans.values():
            plan.forget()

    async def close(self) -> None:
        """End what is computed for nobody any more."""
        for plan in self._plans.values():
            await plan.close()

    async def _load(self, within: Duration) -> Ahead:
        async with self._client.transaction() as one:
            found = await answered(one.database, asking(within))
        ahead = Ahead(await asyncio.to_thread(found.plan), found)  # thousands of schedules take their time
        await asyncio.to_thread(ahead.timeline)  # sums up what all who look share
        return ahead
