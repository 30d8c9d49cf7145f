"""Pages that follow what happens: a line to each of them after a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.web.auth.access import Viewer
from pgsched.web.event_stream import as_text, events_of, respond
from pgsched.web.services.watch import Watch

LONGEST_SECONDS = 900.0
"""A stream ends then; the browser comes again, and is asked again who it is."""
RETRY = "retry: 3000\n\n"
"""The milliseconds after which a browser comes again."""

router = APIRouter()


@router.get("/live")
async def live(actor: Viewer) -> Response:
    """Stream an event after each change (server-sent events); it says that something changed, not what."""
    return respond(actor, _watching(actor.state.watch), opening=RETRY, longest=LONGEST_SECONDS)


def changes(watch: Watch, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Yield the lines of one stream."""
    return events_of(_watching(watch), stopping, opening=RETRY, longest=LONGEST_SECONDS)


@asynccontextmanager
async def _watching(watch: Watch) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    event = watch.join()

    async def change() -> str:
        await event.wait()
        event.clear()
        return as_text("change", {})

    try:
        yield change
    finally:
        watch.leave(event)
