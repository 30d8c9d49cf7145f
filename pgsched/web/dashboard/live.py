"""Pages that follow what happens: one look at the database a second for all who watch, and a line to each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from pgsched.db import page_commands
from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import Viewer
from pgsched.web.state import WebState, state_of

log = get_logger("pgsched.web")

POLL_SECONDS = 1.0
QUIET_SECONDS = 15.0
"""After so long without a word a comment is sent: proxies end connections that are silent."""
LONGEST_SECONDS = 900.0
"""A stream ends then; the browser comes again, and is asked again who it is."""
MAX_WATCHERS = 200

router = APIRouter()


class Watch:
    """Says when something changed. It looks while somebody watches, and not otherwise."""

    def __init__(self, look: Callable[[], Awaitable[int]], *, seconds: float = POLL_SECONDS) -> None:
        self._look = look
        self._seconds = seconds
        self._watchers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def join(self) -> asyncio.Event:
        """Return an event that is set after each change; whoever waits for it clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return event

    def leave(self, event: asyncio.Event) -> None:
        """Watch no more; the last one ends the looking."""
        self._watchers.discard(event)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End the looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        seen: int | None = None
        while True:
            try:
                now = await self._look()
            except PgschedError as error:
                log.warning("watch_failed", error=str(error))
                seen = None
            else:
                if seen is None or now != seen:
                    seen = now
                    for event in self._watchers:
                        event.set()
            await asyncio.sleep(self._seconds)


def watch_of(request: Request) -> Watch:
    """The watch of the app that serves a request; made at the first, closed with the app."""
    state = state_of(request)
    if not hasattr(request.app.state, "watch"):
        made = Watch(lambda: state.client.database.run(page_commands.watch_changes()))
        state.stack.push_async_callback(made.close)
        request.app.state.watch = made
    watch: Watch = request.app.state.watch
    return watch


@router.get("/live")
async def live(request: Request, _actor: Viewer) -> Response:
    """Stream an event after each change (server-sent events); it says that something changed, not what."""
    watch = watch_of(request)
    if len(watch) >= MAX_WATCHERS:
        raise HTTPException(503, "too many pages are live already", headers={"Retry-After": "30"})
    return StreamingResponse(
        changes(watch, state_of(request)), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def changes(watch: Watch, state: WebState) -> AsyncIterator[str]:
    """Yield the lines of one stream."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LONGEST_SECONDS
    event = watch.join()
    stopping = asyncio.create_task(state.stopping.wait())
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
