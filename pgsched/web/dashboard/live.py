"""Live pages: a stream reports changes to each page, and every few seconds that the connection works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.routing import page_router
from pgsched.web.event_stream import as_text, events_of, respond
from pgsched.web.services.watch import Watch

LONGEST_SECONDS = 900.0
"""Maximum duration of a stream; then the browser reconnects, and authenticates again."""
BEAT_SECONDS = 5.0
"""A page that has received nothing for more than twice this time shows that it is disconnected (static/live.js)."""
RETRY = "retry: 3000\n\n"
"""The milliseconds after which a browser reconnects."""
MAX_ID = 2**63 - 1

router = page_router()


@router.get("/live")
async def live(actor: Viewer, task: int | None = None) -> Response:
    """Stream changes (server-sent events): the names of tables, and ``task:ID`` of one task.

    Each event also reports whether the database answers, and the number of rows that change per second; without a
    change an event is sent every few seconds.
    """
    if task is not None and not 0 < task <= MAX_ID:
        raise HTTPException(422, "task must be the id of a task")
    watching = _watching(actor.state.watch, task, BEAT_SECONDS)
    return respond(actor, watching, opening=RETRY, longest=LONGEST_SECONDS)


def changes(
    watch: Watch, stopping: asyncio.Event, *, task_id: int | None = None, beat: float = BEAT_SECONDS
) -> AsyncIterator[str]:
    """Yield the lines of one stream."""
    return events_of(_watching(watch, task_id, beat), stopping, opening=RETRY, longest=LONGEST_SECONDS)


@asynccontextmanager
async def _watching(watch: Watch, task_id: int | None, beat: float) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    watcher = watch.join(task_id=task_id)

    async def news() -> str:
        with suppress(TimeoutError):  # The event then reports no change.
            await asyncio.wait_for(watcher.called.wait(), beat)
        return as_text("news", watch.take(watcher)._asdict())

    try:
        yield news
    finally:
        watch.leave(watcher)
