"""Events of tasks, live: server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from pgsched.domain.validation import one_of
from pgsched.web.api.documented import Responses, problems
from pgsched.web.api.routing import api_router
from pgsched.web.auth.access import Viewer
from pgsched.web.auth.hiding import hidden
from pgsched.web.event_stream import as_text, respond
from pgsched.web.services.event_hub import LISTENING, EventHub

router = api_router("events")

KINDS: Final = ("completed", "failed", "dead", "cancelled")
_kind = one_of(*KINDS)

_EXAMPLE = (
    "event: completed\n"
    'data: {"event": "completed", "id": 17, "task_type": "email", "queue": "mail", "attempt": 1, '
    '"at": "2026-01-31T08:01:00.016000Z", "duration": 0.012, "error": null}\n\n'
)


_STREAM: Responses = {
    200: {
        "description": "A stream that continues until either side closes it.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


@router.get(
    "/events", summary="Follow events of tasks", response_class=StreamingResponse, responses=_STREAM | problems()
)
async def follow_events(
    actor: Viewer,
    queue: Annotated[list[str] | None, Query(description="Only of these queues.")] = None,
    task_type: Annotated[list[str] | None, Query(description="Only of these types.")] = None,
    event: Annotated[list[str] | None, Query(description=f"Only of these kinds: {', '.join(KINDS)}.")] = None,
) -> Response:
    """Events of queues whose setting `events` is on.

    The first event is `listening`, sent again after the connection to the database was lost: events in between are
    missing, so read the tasks that matter again. Errors are null for viewers when payloads are hidden.
    """
    for kind in event or ():
        _kind("event", kind)
    wanted = {"queue": queue, "task_type": task_type, "event": event}
    state = actor.state
    await state.client.database.address()  # An unavailable database is answered before the stream starts.
    told = _told(state.events, {key: set(values) for key, values in wanted.items() if values}, actor.sees_payloads)
    return respond(actor, told)


@asynccontextmanager
async def _told(
    hub: EventHub, wanted: dict[str, set[str]], with_errors: bool
) -> AsyncIterator[Callable[[], Awaitable[str | None]]]:
    async with hub.subscribe() as subscription:

        async def next_text() -> str | None:
            while (event := await subscription.next()) is not None:
                if event is LISTENING or all(event.get(key) in values for key, values in wanted.items()):
                    kind = re.sub(r"[^a-z_]", "", str(event["event"]))
                    return as_text(kind, event if with_errors else hidden(event))
            return None

        yield next_text
