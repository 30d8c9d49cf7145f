"""How a worker ends: it gives back what has not begun, lets the rest end, writes everything, and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol

from pgsched.db import leases
from pgsched.db.faults import SilentDatabase
from pgsched.db.leases import Identity
from pgsched.db.session import Session
from pgsched.errors import DatabaseUnavailable
from pgsched.logs import get_logger
from pgsched.worker.finisher import Finisher
from pgsched.worker.halves import in_halves
from pgsched.worker.heart import Heart
from pgsched.worker.holds import Hold, Holds
from pgsched.worker.hooking import Hooking
from pgsched.worker.slots import Slots

log = get_logger("pgsched.worker")

FLUSH_SECONDS = 8.0
"""How long a stopping worker waits in all for a database that is silent."""
CLAIM_SECONDS = 3.0
"""How much of that for a claim under way."""
CANCEL_SECONDS = 2.0
"""How long a cancelled handler may take to clean up."""
HOOK_SECONDS = 3.0
"""How long a stopping worker waits for hooks that have events to be told."""
LEAST_SECONDS = 0.3
"""Even late a database that answers gets to know what there is to say."""


class Closable(Protocol):
    """Connections."""

    async def close(self) -> None:
        """Close them."""


class Ending:
    """Ends a worker in time: what a silent database took of FLUSH_SECONDS is not waited for again."""

    def __init__(
        self,
        *,
        identity: Identity,
        holds: Holds,
        slots: Slots,
        finisher: Finisher,
        heart: Heart,
        hooking: Hooking | None,
        session: Session,
        connections: Sequence[Closable],
    ) -> None:
        """``session`` is for the last words; ``connections`` are closed in the end."""
        self._identity = identity
        self._holds = holds
        self._slots = slots
        self._finisher = finisher
        self._heart = heart
        self._hooking = hooking
        self._session = session
        self._connections = connections
        self._left = FLUSH_SECONDS

    async def stop_loops(self, claiming: asyncio.Task[None], others: Sequence[asyncio.Task[None]]) -> None:
        """End the loops. A claim under way is waited for: rows that it took are to be given back."""
        begun = monotonic()
        await asyncio.wait([claiming], timeout=CLAIM_SECONDS)
        for loop in (claiming, *others):
            loop.cancel()
        await asyncio.gather(claiming, *others, return_exceptions=True)
        self._left -= monotonic() - begun

    async def wind_down(self, finishing: asyncio.Task[None], shutdown_timeout: float) -> None:
        """Give back what has not started, let the rest finish in time, give back what did not, write everything."""
        try:
            await self.give_back(self._holds.take_waiting())
            await self._slots.drain(shutdown_timeout)
            if self._slots.running:
                log.warning("handing_back", running=self._slots.running)
                await self._slots.interrupt(CANCEL_SECONDS)
            await self._write_all(finishing)
            await self.give_back([hold for hold in self._holds.snapshot() if hold.state != "finishing"])
        finally:
            await asyncio.to_thread(self._heart.stop, min(2.0, self._seconds))
            self._slots.close()
            if self._hooking is not None:
                await self._hooking.stop(HOOK_SECONDS)
            await self.leave()
        log.info("worker_stopped", unwritten=len(self._finisher))

    @property
    def _seconds(self) -> float:
        return max(self._left, LEAST_SECONDS)

    async def _write_all(self, finishing: asyncio.Task[None]) -> None:
        begun = monotonic()
        deadline = begun + self._seconds
        self._finisher.try_all()
        while self._finisher.busy and monotonic() < deadline and not finishing.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        finishing.cancel()
        await asyncio.gather(finishing, return_exceptions=True)
        self._left -= monotonic() - begun

    async def give_back(self, holds: list[Hold]) -> None:
        """Give rows back that this worker will not run; if the database does not answer, their leases run out."""
        try:
            try:
                refused = await in_halves(holds, self._release)
            except SilentDatabase:
                raise
            except DatabaseUnavailable:  # the connection may have gone stale while nothing was asked: a new one
                refused = await in_halves([hold for hold in holds if not hold.abandoned], self._release)
            for hold, error in refused:
                log.warning("release_failed", task_id=hold.task.id, error=str(error))
        except DatabaseUnavailable as error:
            # Their leases run out by themselves.
            log.warning("release_failed", count=sum(not hold.abandoned for hold in holds), error=str(error))
        for hold in holds:
            hold.abandoned = True
            self._holds.drop(hold)

    async def _release(self, holds: Sequence[Hold]) -> None:
        await self._tell(leases.release, self._identity.id, [hold.task for hold in holds])
        for hold in holds:
            hold.abandoned = True

    async def leave(self) -> None:
        """Take this worker off the list, and close its connections."""
        try:
            await self._tell(leases.forget, self._identity)
        except DatabaseUnavailable as error:
            log.warning("unregister_failed", error=str(error))
        for connections in self._connections:
            await connections.close()

    async def _tell(self, what: Any, *about: object) -> None:
        """Say something to the database, in half of the time that is left. Raises DatabaseUnavailable."""
        begun = monotonic()
        self._session.timeout = max(self._left / 2, LEAST_SECONDS)
        try:
            await what(self._session, *about)
        finally:
            self._left -= monotonic() - begun
