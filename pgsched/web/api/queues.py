"""Queues: counters, pausing, limits and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr
from starlette.responses import Response

from pgsched.client.async_client import AsyncClient
from pgsched.domain.errors import Described
from pgsched.domain.records import QueueSettings
from pgsched.domain.validation import refused
from pgsched.web.api import examples
from pgsched.web.api.documented import Route, answers, json_body, reply
from pgsched.web.api.preconditions import Expected, IfMatch, etag
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import QueueSettingsShape, QueueShape, list_of
from pgsched.web.api.values import Age, Count, Duration, StrictModel
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.services import changes

router = api_router("queues")

QueueName = Annotated[str, Path(description="The name of the queue.", examples=["mail"])]

Queues = list_of(QueueShape, "Queues", "Queues by name.")


class Limits(StrictModel):
    """The limits of a queue over all workers; an omitted limit is removed."""

    concurrency: StrictInt | None = Field(None, description="Maximum number of its tasks that run at once.")
    concurrency_per_key: StrictInt | None = Field(None, description="Maximum number with the same concurrency_key.")
    rate: StrictInt | None = Field(None, description="Maximum number of starts within `per`.")
    rate_per_key: StrictInt | None = Field(None, description="Maximum number with the same concurrency_key.")
    per: Duration | None = Field(None, description="The period of a rate; the default is a second.")


class Defaults(StrictModel):
    """Default options of a queue's tasks; an omitted option has no default of the queue."""

    priority: StrictInt | None = None
    max_attempts: StrictInt | None = None
    backoff: StrictStr | None = None
    backoff_delay: Duration | None = None
    backoff_max: Duration | None = None
    backoff_factor: StrictFloat | StrictInt | None = None
    backoff_jitter: StrictFloat | StrictInt | None = None
    timeout: Duration | None = None
    tags: list[StrictStr] | None = None
    metadata: dict[str, Any] | None = None
    tenant_id: StrictStr | None = None
    user_id: StrictStr | None = None
    timezone: StrictStr | None = None
    on_missed: StrictStr | None = None
    catchup_window: Duration | None = None
    overlap: StrictStr | None = None
    jitter: Duration | None = None
    on_dependency_dead: StrictStr | None = None
    concurrency_key: StrictStr | None = None
    alert_if_no_success_for: Duration | None = None
    alert_if_running_for: Duration | None = None


class QueueEdit(StrictModel):
    """Settings of a queue; an omitted setting stays unchanged."""

    ordering: StrictStr | None = Field(None, json_schema_extra={"enum": ["fifo", "lifo"]})
    ageing: Duration | None = Field(
        None, description="The priority of a waiting task rises by one for each such period; null: off."
    )
    events: StrictBool | None = Field(None, description="Publish the events of its tasks to other programs.")
    retention: Age | Literal[0] | None = Field(
        None,
        description="Completed and cancelled tasks that ended longer ago are deleted; `forever`: none; `0`: a task"
        " is deleted when it is completed; null: as in the global settings.",
    )
    retention_count: Count | None = Field(None, description="Number of completed and cancelled tasks to keep.")
    dead_retention: Age | None = Field(None, description="Dead tasks that died longer ago are deleted.")
    dead_retention_count: Count | None = Field(None, description="Number of dead tasks to keep.")
    archive: StrictBool | None = Field(None, description="Deleted tasks are first copied to pgsched.archived_tasks.")
    allow_short: StrictBool = Field(False, description="Allows ages below an hour.")
    defaults: Defaults | None = Field(
        None, description="Options of its tasks unless they or their handlers set others; null: none."
    )


def _operation(method: str, path: str, summary: str, *errors: int, **changed: Any) -> Callable[[Route], Route]:
    """Declare a route of one queue; its answer is the settings, in the example with the change applied."""
    said = answers(QueueSettingsShape, examples.SETTINGS | changed, 404, *errors)
    return router.api_route(f"/queues/{{name:text}}/{path}", methods=[method], summary=summary, responses=said)


@router.get("/queues", summary="List queues", responses=answers(Queues, [examples.QUEUE]))
async def list_queues(actor: Viewer) -> Response:
    """Every queue that has settings, tasks or a worker; the counters are at most two seconds old."""
    return reply(actor, (await actor.state.stats.get()).queues)


@_operation("GET", "settings", "Read the settings of a queue")
async def get_queue(actor: Viewer, name: QueueName) -> Response:
    """A queue without settings has the defaults."""
    found = await actor.client.queue(name)
    return reply(actor, found, headers=_etag(actor, found))


@_operation("PATCH", "settings", "Change the settings of a queue", 400, 412, ageing="600 secs", events=True)
async def set_queue(
    actor: Operator,
    name: QueueName,
    body: Annotated[QueueEdit, json_body(ageing=("Ageing and events", examples.QUEUE_EDIT))],
    expected: IfMatch,
) -> Response:
    """An omitted setting stays unchanged."""
    given = {key: getattr(body, key) for key in body.model_fields_set}
    if body.defaults is not None:
        given["defaults"] = body.defaults.model_dump(exclude_unset=True)
    for key in ("ordering", "events"):
        if key in given and given[key] is None:
            raise refused(key, "have a value", Described("null"))
    events = given.pop("events", None)

    async def work(client: AsyncClient) -> None:
        if given or events is None:
            await client.set_queue(name, **given)
        if events is not None:
            await client.set_queue_events(name, events)

    return await _changed(actor, "set", name, work, expected)


@_operation("POST", "pause", "Pause a queue", paused=True)
async def pause_queue(actor: Operator, name: QueueName) -> Response:
    """Running tasks continue."""
    return reply(actor, await changes.pause_queue(actor, name))


@_operation("POST", "resume", "Resume a queue")
async def resume_queue(actor: Operator, name: QueueName) -> Response:
    """Has no effect on a queue that is not paused."""
    return reply(actor, await changes.resume_queue(actor, name))


@_operation("PUT", "limits", "Limit a queue", 400, 412)
async def limit_queue(
    actor: Operator,
    name: QueueName,
    body: Annotated[Limits, json_body(both=("Slots and a rate", examples.LIMITS))],
    expected: IfMatch,
) -> Response:
    """Over all workers; they replace the previous limits."""
    limits = body.model_dump(exclude_none=True)
    return await _changed(actor, "limit", name, lambda client: client.limit_queue(name, **limits), expected)


@_operation("DELETE", "limits", "Remove the limits of a queue", 412, limits={})
async def unlimit_queue(actor: Operator, name: QueueName, expected: IfMatch) -> Response:
    """Has no effect on a queue without limits."""
    return await _changed(actor, "unlimit", name, lambda client: client.unlimit_queue(name), expected)


async def _changed(actor: Actor, verb: str, name: str, work: changes.Work, expected: Expected) -> Response:
    now, _ = await changes.change_queue(actor, verb, name, work, versions=expected.versions)
    return reply(actor, now, headers=_etag(actor, now))


def _etag(actor: Actor, one: QueueSettings) -> Mapping[str, str]:
    return etag(changes.version_of_queue(one) if actor.sees_payloads else None)
