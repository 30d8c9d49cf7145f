"""Revoked sessions (logged out): read from the databases at most once a second, for all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries.sessions import list_revoked_sessions, revoke_session
from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.web")

SECONDS: Final = 1.0
"""A logout in another process takes effect here after this time."""
PATIENCE: Final = 2.0
"""Seconds that a request waits for the answer of a database; after that the last known state is used."""
OVERLAP: Final = timedelta(minutes=1)
"""A logout is committed after its timestamp was taken: this period is read again."""
_START: Final = datetime(2000, 1, 1, tzinfo=UTC)


class _Reader:
    """The known state of one database."""

    def __init__(self, database: AsyncDatabase) -> None:
        self.database = database
        self.failed = False
        self._since = _START

    async def read(self, known: dict[str, datetime]) -> None:
        try:
            found = await self.database.run(list_revoked_sessions(self._since))
        except PgschedError as error:
            if not self.failed:
                log.warning("logouts_unknown", error=str(error))
            self.failed = True
            return
        self.failed = False
        known.update((one.id, one.ends_at) for one in found)
        if found:
            self._since = max(one.revoked_at for one in found) - OVERLAP


class Revocations:
    """The sessions that were logged out, in any process that serves one of these databases."""

    def __init__(self, databases: Sequence[AsyncDatabase], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._readers = [_Reader(database) for database in databases]
        self._clock = clock
        self._ended: dict[str, datetime] = {}
        """The sessions that were logged out, with the time at which they would have expired."""
        self._looked_at: float | None = None
        self._look: asyncio.Task[None] | None = None

    async def is_revoked(self, session: str) -> bool:
        """Return whether a session was logged out; queries databases that were not read within :data:`SECONDS`."""
        if session in self._ended:
            return True
        await self._refresh()
        return session in self._ended

    async def revoke(self, session: str, ends_at: datetime) -> None:
        """Revoke a session: here at once, elsewhere through the databases; unavailable databases are skipped."""
        self._ended[session] = ends_at
        await asyncio.gather(*(self._tell(reader, session, ends_at) for reader in self._readers))

    async def close(self) -> None:
        """Cancel a query in progress."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    async def _refresh(self) -> None:
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < SECONDS:
            return
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read(now))
        if not all(reader.failed for reader in self._readers):
            await asyncio.wait({self._look}, timeout=PATIENCE)

    async def _read(self, began: float) -> None:
        await asyncio.gather(*(reader.read(self._ended) for reader in self._readers))
        self._looked_at = began
        now = datetime.now(UTC)
        self._ended = {id: ends_at for id, ends_at in self._ended.items() if ends_at > now}

    async def _tell(self, reader: _Reader, session: str, ends_at: datetime) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await reader.database.run(revoke_session(session, ends_at))
        except (PgschedError, TimeoutError) as error:
            log.warning("logout_not_stored", error=str(error) or "the database did not answer")
