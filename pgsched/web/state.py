"""The state that all requests share: ``request.app.state.web``."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence

from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from pgsched.client.async_client import AsyncClient
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries.dashboard import watch_changes, watch_tasks
from pgsched.web.auth.oidc import Oidc
from pgsched.web.auth.throttle import Throttle
from pgsched.web.services.bulk_runner import BulkRunner
from pgsched.web.services.cache import Cached
from pgsched.web.services.counted import CountedLooks
from pgsched.web.services.event_hub import EventHub
from pgsched.web.services.revocations import Revocations
from pgsched.web.services.streams import Streams
from pgsched.web.services.surveys import Surveys
from pgsched.web.services.table_gauges import TableGauges
from pgsched.web.services.upcoming import Upcoming
from pgsched.web.services.watch import Look, Watch
from pgsched.web.settings import WebSettings

HANDLERS_SECONDS = 30.0
"""Maximum age of suggestions of types and tags."""
DIAGNOSIS_SECONDS = 15.0
"""The age at which the doctor's findings are reloaded; twice that at most under continuous use."""
STATS_SECONDS = 2.0
"""Maximum age of counters."""


class Front:
    """Access control, before anything is shown: sessions and limits. Several databases share it."""

    def __init__(
        self,
        *,
        settings: WebSettings,
        templates: Jinja2Templates,
        throttle: Throttle,
        databases: Sequence[AsyncDatabase],
    ) -> None:
        self.settings = settings
        self.templates = templates
        self.throttle = throttle
        self.streams = Streams()
        self.revocations = Revocations(databases)
        self.oidc = None if settings.oidc is None else Oidc(settings.oidc)
        self.key = settings.key("notices") or secrets.token_bytes(32)
        """Signs short-lived values in browsers. It is the same in all processes with the same tokens."""

    async def close(self) -> None:
        """Cancel work that was started for requests."""
        await self.revocations.close()


class WebState:
    """Created with the app; connections are opened at first use."""

    def __init__(self, *, client: AsyncClient, front: Front, name: str = "", names: Sequence[str] = ()) -> None:
        database = client.database
        self.name = name
        """The name of the database on a site with several; empty otherwise."""
        self.names = names
        """All databases of the site; empty: only this one."""
        self.client = client
        self.front = front
        self.settings = front.settings
        self.templates = front.templates
        self.throttle = front.throttle
        self.events = EventHub(database)
        self.stats = Cached(client.stats, seconds=STATS_SECONDS)
        self.diagnosis = Cached(client.doctor, seconds=DIAGNOSIS_SECONDS)
        self.surveys = Surveys(client)
        self.running = Cached(client.running_tasks, seconds=STATS_SECONDS)
        self.handlers = Cached(client.handlers, seconds=HANDLERS_SECONDS)
        self.bulk = BulkRunner(client)
        self.counted = CountedLooks(client)
        self.upcoming = Upcoming(client)
        self.watch = Watch(self._look)
        self.table_gauges = TableGauges(database)
        self.stopping = asyncio.Event()
        """Set when the server is about to stop: it ends streams."""

    async def _look(self, ids: Collection[int]) -> Look:
        database = self.client.database
        tables = await database.run(watch_changes())
        tasks = await database.run(watch_tasks(ids)) if ids else dict[int, str]()
        return Look(tables, tasks)

    async def close(self) -> None:
        """Cancel work that was started for requests and close the connections."""
        self.stopping.set()
        await self.front.close()
        shared = (self.stats, self.diagnosis, self.surveys, self.running, self.counted, self.upcoming, self.handlers)
        for one in (self.events, self.bulk, *shared, self.watch, self.table_gauges, self.client):
            await one.close()


def state_of(connection: HTTPConnection) -> WebState:
    """Return the state that the requests of an app share."""
    state: WebState = connection.app.state.web
    return state


def front_of(connection: HTTPConnection) -> Front:
    """Return the access control of an app."""
    front: Front = connection.app.state.front
    return front


def remote_of(connection: HTTPConnection) -> str | None:
    """Return the address that a request came from."""
    return connection.client.host if connection.client else None
