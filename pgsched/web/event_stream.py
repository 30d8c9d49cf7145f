"""Server-sent events: a stream to one browser or program, which ends with the server."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pgsched.web.auth.access import AccessDenied, Actor
from pgsched.web.services.streams import Place, TooManyStreams

QUIET_SECONDS: Final = 15.0
"""After this time without an event a comment is sent: proxies close idle connections."""

LONGEST_OF_SESSION: Final = 900.0
"""Maximum duration of a logged-in user's stream; then the browser reconnects, and authenticates again."""
RETRY_SECONDS: Final = 30
"""When a client that got no place for a stream may retry."""

Source = AbstractAsyncContextManager[Callable[[], Awaitable[str | None]]]
"""Open while a stream lasts; its function waits for the text of the next event, and None ends the stream."""


def as_text(kind: str, data: Any) -> str:
    """Return the encoded event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def take_place(actor: Actor) -> Place:
    """Return a place for one more stream. Raises AccessDenied and HTTPException when there is none."""
    try:
        return actor.state.front.streams.join(actor.stream_client)
    except TooManyStreams as error:
        if error.own:
            raise AccessDenied(429, str(error), wait=RETRY_SECONDS) from None
        raise HTTPException(503, str(error), headers={"Retry-After": str(RETRY_SECONDS)}) from None


class _Stream(StreamingResponse):
    """Releases its place at the end, however the stream ends."""

    def __init__(self, texts: AsyncIterator[str], place: Place) -> None:
        # nginx is asked not to buffer them.
        super().__init__(texts, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.leave()


def respond(actor: Actor, source: Source, *, opening: str = "", longest: float = math.inf) -> StreamingResponse:
    """Return the answer that streams the texts of a source, until the session expires at the latest.

    Raises AccessDenied and HTTPException when there are too many streams.
    """
    if actor.session is not None:
        longest = min(longest, LONGEST_OF_SESSION, actor.session.ends_at - time.time())
    place = take_place(actor)
    return _Stream(events_of(source, actor.state.stopping, place.ended, opening=opening, longest=longest), place)


async def events_of(
    source: Source, *endings: asyncio.Event, opening: str = "", longest: float = math.inf
) -> AsyncIterator[str]:
    """Yield the texts of a source, until it ends, one of ``endings`` is set, or ``longest`` seconds have passed."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + longest
    async with source as next_text:
        stops = [asyncio.ensure_future(ending.wait()) for ending in endings]
        coming = asyncio.ensure_future(next_text())
        try:
            if opening:
                yield opening
            while not any(stop.done() for stop in stops) and loop.time() < ends_at:
                await asyncio.wait({coming, *stops}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    if (text := coming.result()) is None:
                        return
                    coming = asyncio.ensure_future(next_text())
                    yield text
                elif not any(stop.done() for stop in stops):
                    yield ": still here\n\n"
        finally:  # Also when the client has disconnected.
            for stop in stops:
                stop.cancel()
            coming.cancel()
