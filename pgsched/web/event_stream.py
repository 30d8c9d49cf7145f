"""Server-sent events: a stream to one browser or program, which ends with the server."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.responses import StreamingResponse

QUIET_SECONDS: Final = 15.0
"""After so long without an event a comment is sent: proxies end connections that are silent."""

Source = AbstractAsyncContextManager[Callable[[], Awaitable[str | None]]]
"""Gives, while a stream lasts, what waits for the text of the next event; None ends the stream."""


def as_text(kind: str, data: Any) -> str:
    """Return an event as it is sent."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def respond(texts: AsyncIterator[str]) -> StreamingResponse:
    """Return the answer that streams these texts; nginx is asked not to hold them back."""
    return StreamingResponse(texts, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def events_of(
    source: Source, stopping: asyncio.Event, *, opening: str = "", longest: float = math.inf
) -> AsyncIterator[str]:
    """Yield the texts of a source, until it ends, ``stopping`` is set, or ``longest`` seconds are over."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + longest
    async with source as next_text:
        stopped = asyncio.ensure_future(stopping.wait())
        coming = asyncio.ensure_future(next_text())
        try:
            if opening:
                yield opening
            while not stopped.done() and loop.time() < ends_at:
                await asyncio.wait({coming, stopped}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    if (text := coming.result()) is None:
                        return
                    coming = asyncio.ensure_future(next_text())
                    yield text
                elif not stopped.done():
                    yield ": still here\n\n"
        finally:  # also when whoever listened has left
            stopped.cancel()
            coming.cancel()
