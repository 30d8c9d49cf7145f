"""Keeps the transactions of handlers from being idle: PgBouncer, and the server, may end one that is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pgsched.db.transaction import Pool, Transaction
from pgsched.worker.loops import own_task

PAUSE_SECONDS = 0.5
"""How often each open transaction gets a statement; one that ends sooner gets none."""


@dataclass(kw_only=True, eq=False, repr=False)
class KeptTransactions:
    """Sends a statement in every transaction that was open at the last turn and that its handler does not use now."""

    pool: Pool

    def __post_init__(self) -> None:
        self._seen: set[Transaction] = set()

    async def run_once(self) -> None:
        """Wait, then look once."""
        await asyncio.sleep(PAUSE_SECONDS)
        seen, self._seen = self._seen, set(self.pool.open)
        for transaction in seen & self._seen:
            transaction.keep(own_task(transaction.use(), name="pgsched keep"))
