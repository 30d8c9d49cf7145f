"""What ended in the last hour, minute by minute, kept in memory: each look reads only what came since the last."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from pgsched.db.page_commands import MinuteCount

Minutes = dict[datetime, Counter[str]]
"""Of each minute so many attempts by outcome."""


class History:
    """The minutes of the last hour; ``load`` counts the current minute and so many before it."""

    MINUTES = 60
    SECONDS = 2.0
    """It is asked for so often at most; less often where counting takes long."""
    MAX_SHARE = 0.1
    """The share of time that counting may take."""

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
        self._counted: Minutes = {}
        self._loaded_at: float | None = None
        self._ask_after = 0.0

    async def minutes(self) -> Minutes:
        """Return every minute of the last hour, the empty ones too."""
        async with self._lock:
            began = self._clock()
            if began >= self._ask_after:
                await self._renew(began)
        this = self._now().replace(second=0, microsecond=0)
        latest = max([this, *self._counted])
        hour = [latest - timedelta(minutes=back) for back in range(self.MINUTES - 1, -1, -1)]
        return {at: self._counted.get(at, Counter()) for at in hour}

    async def _renew(self, began: float) -> None:
        back = self.MINUTES
        if self._loaded_at is not None:  # two more than went by: what ended in a minute may be committed in the next
            back = min(int((began - self._loaded_at) // 60) + 2, self.MINUTES)
        rows = await self._load(back)
        latest = max((row.minute for row in rows), default=self._now().replace(second=0, microsecond=0))
        kept = latest - timedelta(minutes=self.MINUTES)
        stale = latest - timedelta(minutes=back)
        self._counted = {at: bucket for at, bucket in self._counted.items() if kept < at < stale}
        for row in rows:
            self._counted.setdefault(row.minute, Counter())[row.status] += row.number
        self._loaded_at = began
        ended = self._clock()
        self._ask_after = ended + max(self.SECONDS, (ended - began) / self.MAX_SHARE)
