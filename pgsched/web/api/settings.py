"""Global settings: defaults of all queues and the retention of the history; and deleting by them now."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr
from starlette.responses import Response

from pgsched.db.queries.settings import lock_settings
from pgsched.domain.versions import check_version, version_of
from pgsched.web.api import examples
from pgsched.web.api.documented import answers, json_body, reply
from pgsched.web.api.preconditions import IfMatch, etag
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import PrunedShape, SettingsShape
from pgsched.web.api.values import Age, Count, StrictModel
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.services.audit import audited

router = api_router("settings")

LONGEST_SECONDS = 30.0
"""Time limit of a delete request; workers or the next request delete the rest."""


class SettingsEdit(StrictModel):
    """Settings; an omitted setting stays unchanged, null removes it."""

    retention: Age | None = Field(
        None, description="Completed and cancelled tasks that ended longer ago are deleted; null: none."
    )
    retention_count: Count | None = Field(
        None, description="Number of completed and cancelled tasks that each queue keeps; null: all."
    )
    dead_retention: Age | None = Field(None, description="Dead tasks that died longer ago are deleted.")
    dead_retention_count: Count | None = Field(None, description="Number of dead tasks that each queue keeps.")
    archive: StrictBool | None = Field(None, description="Deleted tasks are first copied to pgsched.archived_tasks.")
    history_retention: Age | None = Field(
        None, description="Days of the history that ended longer ago are dropped, at least a day; null: none."
    )
    unknown_types: Literal["accept", "tell", "refuse"] = Field(
        "tell", description="What happens to a task of a type that is not registered."
    )
    allow_short: StrictBool = Field(False, description="Allows ages below an hour.")


class Prune(StrictModel):
    """What to delete, instead of the settings."""

    queue: StrictStr | None = Field(None, description="Only tasks of this queue, and no history.")
    completed_older_than: Age | None = Field(None, description="Completed and cancelled tasks that ended longer ago.")
    completed_keep: StrictInt | None = Field(None, description="All completed and cancelled tasks except this number.")
    dead_older_than: Age | None = Field(None, description="Dead tasks that died longer ago.")
    dead_keep: StrictInt | None = Field(None, description="All dead tasks except this number.")
    history_older_than: Age | None = Field(None, description="Days of the history that ended longer ago.")
    archive: StrictBool | None = Field(None, description="Whether to copy tasks to pgsched.archived_tasks first.")
    allow_short: StrictBool = Field(False, description="Allows ages below an hour.")
    dry_run: StrictBool = Field(False, description="Only report what would be deleted.")
    max_seconds: StrictInt | StrictFloat = Field(
        LONGEST_SECONDS, gt=0, le=LONGEST_SECONDS, description="Stop after this time."
    )


@router.get("/settings", summary="Read the settings", responses=answers(SettingsShape, examples.GENERAL))
async def get_settings(actor: Viewer) -> Response:
    """The defaults of all queues, and the retention of the history."""
    found = (await actor.client.settings()).as_dict()
    return reply(actor, found, headers=etag(version_of(found)))


@router.patch("/settings", summary="Change the settings", responses=answers(SettingsShape, examples.GENERAL, 400, 412))
async def set_settings(
    actor: Operator, body: Annotated[SettingsEdit, json_body(ages=("Ages", examples.GENERAL_EDIT))], expected: IfMatch
) -> Response:
    """An omitted setting stays unchanged."""
    given = {key: getattr(body, key) for key in body.model_fields_set}
    async with audited(actor, "settings.set") as change:
        await change.client.database.run(lock_settings())
        was = (await change.client.settings()).as_dict()
        await change.client.set_settings(**given)  # First: invalid settings are reported before a concurrent edit.
        check_version("the settings", version_of(was), expected.versions)
        now = (await change.client.settings()).as_dict()
        change.note(was, now)
        return reply(actor, now, headers=etag(version_of(now)))


@router.post(
    "/prune", summary="Delete finished tasks and old history now", responses=answers(PrunedShape, examples.PRUNED, 400)
)
async def prune(actor: Operator, body: Annotated[Prune, json_body(age=("By age", examples.PRUNE))]) -> Response:
    """By the settings, or by the values of the body for completed tasks, dead tasks or the history. Workers also do
    this on their own. `complete` is false when the time limit was reached: send the request again.
    """
    done = await actor.client.prune(**body.model_dump(exclude_none=True))
    if not body.dry_run and (done.queues or done.history or done.history_rows):
        async with audited(actor, "prune", queue=body.queue) as change:
            change.after = done.as_dict()
    actor.state.stats.forget()
    return reply(actor, done)
