"""What will run in the time ahead, computed once for all who look, and some seconds old at most."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.client.async_schedules import answered
from pgsched.db.queries.upcoming import Found, asking
from pgsched.domain.planned_schedule import PlannedSchedule
from pgsched.domain.scheduling.timeline import Plan, Timeline, Waiting
from pgsched.domain.validation import Duration
from pgsched.web.services.cache import Cached

SECONDS: Final = 10.0
SPANS: Final = ("1h", "24h", "7d")
"""The times ahead that pages show."""


class Ahead(NamedTuple):
    """A plan, with what is counted beside it."""

    plan: Plan
    found: Found

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
        return self.plan.timeline(waiting, self.found.rates, fits=fits, offset=offset, limit=limit)


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
        return Ahead(await asyncio.to_thread(found.plan), found)  # thousands of schedules take their time
