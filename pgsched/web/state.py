"""What all requests share: ``request.app.state.web``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from pgsched.client.async_client import AsyncClient
from pgsched.domain.records import Stats
from pgsched.ops.doctor.findings import Diagnosis
from pgsched.web.auth.throttle import Throttle
from pgsched.web.services.cache import Cached
from pgsched.web.services.event_hub import EventHub
from pgsched.web.services.surveys import Surveys
from pgsched.web.services.table_gauges import TableGauges
from pgsched.web.services.watch import Watch
from pgsched.web.settings import WebSettings


@dataclass(frozen=True, kw_only=True)
class WebState:
    """Made with the app; the connections of the client are opened at first use."""

    client: AsyncClient
    settings: WebSettings
    stats: Cached[Stats]
    diagnosis: Cached[Diagnosis]
    """What the doctor finds."""
    templates: Jinja2Templates
    events: EventHub
    """What happens to tasks, as workers tell it."""
    surveys: Surveys
    watch: Watch
    """Says when a table changed."""
    table_gauges: TableGauges
    throttle: Throttle = field(default_factory=Throttle)
    """The wrong tokens of each address."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is about to end: a stream that would go on for ever ends then."""

    async def close(self) -> None:
        """End what was begun for requests and close the connections."""
        self.stopping.set()
        for one in (self.events, self.stats, self.diagnosis, self.surveys, self.watch, self.table_gauges, self.client):
            await one.close()


def state_of(connection: HTTPConnection) -> WebState:
    """Return what the requests of an app share."""
    state: WebState = connection.app.state.web
    return state


def remote_of(connection: HTTPConnection) -> str | None:
    """Return the address that a request came from."""
    return connection.client.host if connection.client else None
