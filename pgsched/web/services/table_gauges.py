"""Table-wide gauges for scrapers of the web server: available even when no worker is left to export them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.session import Session
from pgsched.web.services.cache import Cached
from pgsched.worker.table_gauges import CachedGauges

ONE_FOR_ALL_SECONDS = 1.0
"""An answer is shared by all requests within this time."""
TIMEOUT_SECONDS = 8.0
"""Time limit of the database, below that of a scraper, which is usually 10 s."""


class TableGauges:
    """The table's gauges as text for Prometheus, on a separate connection that is opened on demand."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._registry = CollectorRegistry()
        self._session: Session | None = None
        self._gauges: CachedGauges | None = None
        self._text = Cached(self._load, seconds=ONE_FOR_ALL_SECONDS)

    async def text(self) -> bytes:
        """Return the text. Raises DatabaseUnavailable when the table must be counted and cannot be."""
        return await self._text.get()

    async def close(self) -> None:
        """Close the connection."""
        await self._text.close()
        if self._session is not None:
            await self._session.close()

    async def _load(self) -> bytes:
        if self._gauges is None:
            self._session = Session(dsn=await self._database.address(), name="pgsched metrics", timeout=TIMEOUT_SECONDS)
            self._gauges = CachedGauges(session=self._session)
            self._registry.register(self._gauges)
        await self._gauges.renew()
        return generate_latest(self._registry)
