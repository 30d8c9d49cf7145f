"""What all requests share: ``request.app.state.web``."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.dashboard import watch_changes, watch_tasks
from pgsched.web.auth.throttle import Throttle
from pgsched.web.services.cache import Cached
from pgsched.web.services.event_hub import EventHub
from pgsched.web.services.surveys import Surveys
from pgsched.web.services.table_gauges import TableGauges
from pgsched.web.services.watch import Look, Watch
from pgsched.web.settings import WebSettings

DIAGNOSIS_SECONDS = 15.0
"""How old the doctor's findings may be before they are looked for anew; twice that while somebody asks."""
STATS_SECONDS = 2.0
"""Counts are at most so old."""


class WebState:
    """Made with the app; connections are opened at first use."""

    def __init__(
        self, *, client: AsyncClient, settings: WebSettings, templates: Jinja2Templates, throttle: Throttle
    ) -> None:
        database = client.database
        self.client = client
        self.settings = settings
        self.templates = templates
        self.throttle = throttle
        self.events = EventHub(database)
        self.stats = Cached(client.stats, seconds=STATS_SECONDS)
        self.diagnosis = Cached(client.doctor, seconds=DIAGNOSIS_SECONDS)
        self.surveys = Surveys(client)
        self.running = Cached(client.running_tasks, seconds=STATS_SECONDS)
        self.watch = Watch(self._look)
        self.table_gauges = TableGauges(database)
        self.stopping = asyncio.Event()
        """Set when the server is about to end: a stream that would go on for ever ends then."""

    async def _look(self, ids: Collection[int]) -> Look:
        database = self.client.database
        tables = await database.run(watch_changes())
        tasks = await database.run(watch_tasks(ids)) if ids else dict[int, str]()
        return Look(tables, tasks)

    async def close(self) -> None:
        """End what was begun for requests and close the connections."""
        self.stopping.set()
        for one in (
            self.events,
            self.stats,
            self.diagnosis,
            self.surveys,
            self.running,
            self.watch,
            self.table_gauges,
            self.client,
        ):
            await one.close()


def state_of(connection: HTTPConnection) -> WebState:
    """Return what the requests of an app share."""
    state: WebState = connection.app.state.web
    return state


def remote_of(connection: HTTPConnection) -> str | None:
    """Return the address that a request came from."""
    return connection.client.host if connection.client else None
