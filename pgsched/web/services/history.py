"""Finished attempts of the last hour per minute, kept in memory: each query reads only what is new."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgsched.db.queries.dashboard import MinuteCount

Minutes = dict[datetime, Counter[str]]
"""Number of attempts by outcome, for each minute."""


class Ended(NamedTuple):
    """Finished attempts of one queue within the hour."""

    number: int = 0
    failed: int = 0
    """Number of them that did not complete."""


class History:
    """The minutes of the last hour; ``load`` counts the current minute and the given number before it."""

    MINUTES = 60
    SECONDS = 2.0
    """The minimum interval of queries; longer where counting is slow."""
    MAX_SHARE = 0.1
    """The fraction of time that counting may take."""

    def __init__(
        self,
        load: Callable[[int], Awaitable[list[MinuteCount]]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._load = load
        self._clock = clock
        self._now = now
        self._lock = asyncio.Lock()
        self._counted: dict[datetime, Counter[tuple[str, str]]] = {}
        """By minute, then by queue and outcome."""
        self._loaded_at: float | None = None
        self._ask_after = 0.0

    async def minutes(self) -> Minutes:
        """Return every minute of the last hour, including empty ones."""
        async with self._lock:
            began = self._clock()
            if began >= self._ask_after:
                await self._renew(began)
        this = self._now().replace(second=0, microsecond=0)
        latest = max([this, *self._counted])
        hour = [latest - timedelta(minutes=back) for back in range(self.MINUTES - 1, -1, -1)]
        return {at: _by_status(self._counted.get(at, Counter())) for at in hour}

    def by_queue(self) -> dict[str, Ended]:
        """Return the attempts that ended within the hour, by queue, from the latest query."""
        numbers: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for bucket in self._counted.values():
            for (queue, status), number in bucket.items():
                numbers[queue] += number
                failed[queue] += number if status != "completed" else 0
        return {queue: Ended(number, failed[queue]) for queue, number in numbers.items()}

    async def _renew(self, began: float) -> None:
        back = self.MINUTES
        # Two more minutes than passed: an attempt that ended in a minute may be committed in the next.
        if self._loaded_at is not None:
            back = min(int((began - self._loaded_at) // 60) + 2, self.MINUTES)
        rows = await self._load(back)
        fresh: dict[datetime, Counter[tuple[str, str]]] = {}
        for row in rows:
            fresh.setdefault(row.minute, Counter())[row.queue, row.status] += row.number
        known = self._counted | fresh  # A minute that was read again replaces its previous counts.
        this = self._now().replace(second=0, microsecond=0)
        gone = max([this, *known]) - timedelta(minutes=self.MINUTES)
        self._counted = {at: bucket for at, bucket in known.items() if at > gone}
        self._loaded_at = began
        ended = self._clock()
        self._ask_after = ended + max(self.SECONDS, (ended - began) / self.MAX_SHARE)


def _by_status(bucket: Counter[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_queue, status), number in bucket.items():
        found[status] += number
    return found
