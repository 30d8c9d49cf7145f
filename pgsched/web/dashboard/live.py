"""Pages that follow what happens: a line to each of them after a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from pgsched.web.auth.access import Viewer
from pgsched.web.services.watch import Watch

QUIET_SECONDS = 15.0
"""After so long without a word a comment is sent: proxies end connections that are silent."""
LONGEST_SECONDS = 900.0
"""A stream ends then; the browser comes again, and is asked again who it is."""
MAX_WATCHERS = 200

router = APIRouter()


@router.get("/live")
async def live(actor: Viewer) -> Response:
    """Stream an event after each change (server-sent events); it says that something changed, not what."""
    state = actor.state
    if len(state.watch) >= MAX_WATCHERS:
        raise HTTPException(503, "too many pages are live already", headers={"Retry-After": "30"})
    stream = changes(state.watch, state.stopping)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def changes(watch: Watch, ending: asyncio.Event) -> AsyncIterator[str]:
    """Yield the lines of one stream."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LONGEST_SECONDS
    event = watch.join()
    stopping = asyncio.create_task(ending.wait())
    try:
        yield "retry: 3000\n\n"
        while not stopping.done() and loop.time() < ends_at:
            changed = asyncio.create_task(event.wait())
            try:
                await asyncio.wait({changed, stopping}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()  # also when the page was left meanwhile
            if event.is_set():
                event.clear()
                yield "event: change\ndata: {}\n\n"
            elif not stopping.done():
                yield ": still here\n\n"
    finally:
        stopping.cancel()
        watch.leave(event)
