"""What happens to tasks, as it happens: server-sent events."""

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
        "description": "A stream that goes on until one of the two ends it.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


@router.get(
    "/events", summary="Follow what happens to tasks", response_class=StreamingResponse, responses=_STREAM | problems()
)
async def follow_events(
    actor: Viewer,
    queue: Annotated[list[str] | None, Query(description="Of these queues only.")] = None,
    task_type: Annotated[list[str] | None, Query(description="Of these types only.")] = None,
    event: Annotated[list[str] | None, Query(description=f"Of these kinds only: {', '.join(KINDS)}.")] = None,
) -> Response:
    """Of queues whose setting `events` is on.

    First comes `listening`, and again after the connection to the database was lost: what happened meanwhile is not
    told, so read the tasks that matter afresh. Errors are null for viewers where payloads are hidden.
    """
    for kind in event or ():
        _kind("event", kind)
    wanted = {"queue": queue, "task_type": task_type, "event": event}
    state = actor.state
    await state.client.database.address()  # a database that is not there is an answer, not a stream
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
