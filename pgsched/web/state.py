"""What all requests share: ``request.app.state.web``."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.templating import Jinja2Templates

from pgsched.client.async_client import AsyncClient
from pgsched.domain.records import Stats
from pgsched.ops.doctor.findings import Diagnosis
from pgsched.web.auth.throttle import Throttle
from pgsched.web.services.cache import Cached
from pgsched.web.services.event_hub import EventHub
from pgsched.web.services.table_gauges import TableGauges
from pgsched.web.settings import WebSettings


@dataclass(frozen=True, kw_only=True)
class WebState:
    """Made with the app; the connections of the client are opened at first use."""

    dsn: str
    """For a connection that listens; all else goes through the client."""
    client: AsyncClient
    settings: WebSettings
    stats: Cached[Stats]
    diagnosis: Cached[Diagnosis]
    """What the doctor finds."""
    templates: Jinja2Templates
    events: EventHub
    """What happens to tasks, as workers tell it."""
    table_gauges: TableGauges
    throttle: Throttle = field(default_factory=Throttle)
    """The wrong tokens of each address."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is about to end: a stream that would go on for ever ends then."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    """``push_async_callback`` what has to be closed with the app."""

    async def close(self) -> None:
        """End what was begun for requests and close the connections."""
        self.stopping.set()
        await self.events.close()
        await self.stats.close()
        await self.diagnosis.close()
        await self.table_gauges.close()
        await self.stack.aclose()
        await self.client.close()


def state_of(connection: HTTPConnection) -> WebState:
    """Return what the requests of an app share."""
    state: WebState = connection.app.state.web
    return state
