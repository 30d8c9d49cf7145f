"""What happens to tasks, as it happens: server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from pgsched.domain.validation import one_of
from pgsched.web.api.documented import Responses, empty_answer
from pgsched.web.auth.access import Viewer
from pgsched.web.auth.hiding import hidden
from pgsched.web.services.event_hub import LISTENING, Event, Subscription
from pgsched.web.state import WebState

router = APIRouter(tags=["events"])

KINDS: Final = ("completed", "failed", "dead", "cancelled")
_kind = one_of(*KINDS)
KEEP_ALIVE: Final = 15.0
"""Seconds without an event after which a comment is sent, so that proxies do not end the stream."""

_EXAMPLE = (
    "event: completed\n"
    'data: {"event": "completed", "id": 17, "task_type": "email", "queue": "mail", "attempt": 1, '
    '"at": "2026-01-31T08:01:00.016000Z", "duration": 0.012, "error": null}\n\n'
)


def _answers() -> Responses:
    said = empty_answer()
    del said[204]
    said[200] = {
        "description": "A stream that goes on until one of the two ends it.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
    return said


@router.get("/events", summary="Follow what happens to tasks", response_class=StreamingResponse, responses=_answers())
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
    stream = _stream(state, {key: set(values) for key, values in wanted.items() if values}, actor.sees_payloads)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(state: WebState, wanted: dict[str, set[str]], with_errors: bool) -> AsyncIterator[str]:
    async with state.events.subscribe() as subscription:
        following = asyncio.create_task(_until_stopping(state, subscription))
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        event = await subscription.next()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if event is None:
                    return
                if event is LISTENING or _fits(event, wanted):
                    yield _as_text(event if with_errors else hidden(event))
        finally:
            following.cancel()


async def _until_stopping(state: WebState, subscription: Subscription) -> None:
    await state.stopping.wait()
    subscription.end()


def _fits(event: Event, wanted: dict[str, set[str]]) -> bool:
    return all(event.get(key) in values for key, values in wanted.items())


def _as_text(event: dict[str, Any]) -> str:
    kind = re.sub(r"[^a-z_]", "", str(event["event"]))
    return f"event: {kind}\ndata: {json.dumps(event)}\n\n"
