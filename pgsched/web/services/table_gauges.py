"""The gauges of the whole table for who scrapes the web face: there to be asked when no worker is left to tell them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.session import Session
from pgsched.web.services.cache import Cached
from pgsched.worker.table_gauges import CachedGauges

ONE_FOR_ALL_SECONDS = 1.0
"""An answer is given to all who ask within this time."""
TIMEOUT_SECONDS = 8.0
"""A database that does not answer is given up before a scraper, which has 10 s as a rule, gives up us."""


class TableGauges:
    """The table's gauges as text for Prometheus, on a connection of their own that is opened when somebody asks."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._registry = CollectorRegistry()
        self._session: Session | None = None
        self._gauges: CachedGauges | None = None
        self._text = Cached(self._load, seconds=ONE_FOR_ALL_SECONDS)

    async def text(self) -> bytes:
        """Return the text. Raises DatabaseUnavailable when the table has to be counted and cannot be."""
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
