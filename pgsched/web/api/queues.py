"""Queues: counted, paused, resumed, limited and set."""

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

Queues = list_of(QueueShape, "Queues", "Queues by their names.")


class Limits(StrictModel):
    """The limits of a queue over all workers; what is left out has none."""

    concurrency: StrictInt | None = Field(None, description="So many of its tasks run at once.")
    concurrency_per_key: StrictInt | None = Field(None, description="So many with the same concurrency_key.")
    rate: StrictInt | None = Field(None, description="So many start within `per`.")
    rate_per_key: StrictInt | None = Field(None, description="So many with the same concurrency_key.")
    per: Duration | None = Field(None, description="The time of a rate; a second when left out.")


class Defaults(StrictModel):
    """Options that a queue says for its tasks; what is left out it does not say."""

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
    """Settings of a queue; what is left out stays."""

    ordering: StrictStr | None = Field(None, json_schema_extra={"enum": ["fifo", "lifo"]})
    ageing: Duration | None = Field(
        None, description="A task that has waited so long counts as one priority higher, for each such span; null: off."
    )
    events: StrictBool | None = Field(None, description="Tell other programs what happens to its tasks.")
    retention: Age | Literal[0] | None = Field(
        None,
        description="Completed and cancelled tasks that ended longer ago are deleted; `forever`: none; `0`: a task"
        " leaves when it is completed; null: as the settings say.",
    )
    retention_count: Count | None = Field(None, description="Of completed and cancelled tasks so many are kept.")
    dead_retention: Age | None = Field(None, description="Dead tasks that died longer ago are deleted.")
    dead_retention_count: Count | None = Field(None, description="Of dead tasks so many are kept.")
    archive: StrictBool | None = Field(None, description="What is deleted is copied to pgsched.archived_tasks first.")
    allow_short: StrictBool = Field(False, description="The ages may be shorter than an hour.")
    defaults: Defaults | None = Field(
        None, description="What its tasks have unless they or their handlers say otherwise; null: nothing."
    )


def _operation(method: str, path: str, summary: str, *errors: int, **changed: Any) -> Callable[[Route], Route]:
    """Declare a route of one queue; its answer is the settings, in the example with what was changed."""
    said = answers(QueueSettingsShape, examples.SETTINGS | changed, 404, *errors)
    return router.api_route(f"/queues/{{name:text}}/{path}", methods=[method], summary=summary, responses=said)


@router.get("/queues", summary="List queues", responses=answers(Queues, [examples.QUEUE]))
async def list_queues(actor: Viewer) -> Response:
    """Every queue that has settings, tasks or a worker; the counts are at most two seconds old."""
    return reply(actor, (await actor.state.stats.get()).queues)


@_operation("GET", "settings", "Read the settings of a queue")
async def get_queue(actor: Viewer, name: QueueName) -> Response:
    """A queue that nobody told anything has the defaults."""
    found = await actor.client.queue(name)
    return reply(actor, found, headers=_etag(actor, found))


@_operation("PATCH", "settings", "Change the settings of a queue", 400, 412, ageing="600 secs", events=True)
async def set_queue(
    actor: Operator,
    name: QueueName,
    body: Annotated[QueueEdit, json_body(ageing=("Ageing and events", examples.QUEUE_EDIT))],
    expected: IfMatch,
) -> Response:
    """What is left out stays as it is."""
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


@_operation("POST", "pause", "Claim nothing more of a queue", paused=True)
async def pause_queue(actor: Operator, name: QueueName) -> Response:
    """What runs goes on."""
    return reply(actor, await changes.pause_queue(actor, name))


@_operation("POST", "resume", "Claim again from a paused queue")
async def resume_queue(actor: Operator, name: QueueName) -> Response:
    """Nothing happens to one that is not paused."""
    return reply(actor, await changes.resume_queue(actor, name))


@_operation("PUT", "limits", "Limit a queue", 400, 412)
async def limit_queue(
    actor: Operator,
    name: QueueName,
    body: Annotated[Limits, json_body(both=("Slots and a rate", examples.LIMITS))],
    expected: IfMatch,
) -> Response:
    """Over all workers, instead of the limits that it had."""
    limits = body.model_dump(exclude_none=True)
    return await _changed(actor, "limit", name, lambda client: client.limit_queue(name, **limits), expected)


@_operation("DELETE", "limits", "Take the limits of a queue away", 412, limits={})
async def unlimit_queue(actor: Operator, name: QueueName, expected: IfMatch) -> Response:
    """Nothing happens to one without limits."""
    return await _changed(actor, "unlimit", name, lambda client: client.unlimit_queue(name), expected)


async def _changed(actor: Actor, verb: str, name: str, work: changes.Work, expected: Expected) -> Response:
    now, _ = await changes.change_queue(actor, verb, name, work, versions=expected.versions)
    return reply(actor, now, headers=_etag(actor, now))


def _etag(actor: Actor, one: QueueSettings) -> Mapping[str, str]:
    return etag(changes.version_of_queue(one) if actor.sees_payloads else None)
