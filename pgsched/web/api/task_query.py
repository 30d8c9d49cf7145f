"""The query of a list of tasks, and the body of a change to many."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema

from pgsched.db.queries.payload_edits import MAX_BATCH
from pgsched.db.queries.task_search import ACTIONS, BATCH, MAX_CHANGED
from pgsched.domain.task_filters import SECRETS, TaskFilters
from pgsched.web.api.cursors import Cursor, Limit
from pgsched.web.api.fields import FIELDS
from pgsched.web.api.values import Moment, StrictModel
from pgsched.web.auth.access import AccessDenied, Actor
from pgsched.web.services.search import visible

_MANY = "May be repeated: one of them must match."


class _Filter(StrictModel):
    """Filters of tasks; a task must match all that are given."""

    tag: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    locked_by: str | None = Field(None, description="The id of the worker that runs it.")
    name: str | None = Field(None, description="A part of task_name, regardless of case.")
    search: str | None = Field(None, description="A text in the payload, as written in JSON, regardless of case.")
    error: str | None = Field(None, description="A part of last_error, regardless of case.")
    created_after: Moment | None = None
    created_before: Moment | None = None
    due_after: Moment | None = Field(None, description="Its next_run_at is at or after this time.")
    due_before: Moment | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    ended_after: Moment | None = Field(None, description="It was completed, cancelled or died at or after this time.")
    ended_before: Moment | None = None
    id: list[int] | None = Field(None, description=_MANY)
    queue: list[str] | None = Field(None, description=_MANY)
    task_type: list[str] | None = Field(None, description=_MANY)
    schedule_type: list[str] | None = Field(None, description=f"{_MANY} one_time, recurring, repeating.")
    priority: list[int] | None = Field(None, description=_MANY)
    parent_id: int | None = None
    depends_on: int | None = Field(None, description="The id of a task that it waits for, or waited for.")
    enabled: bool | None = None
    payload: str | None = Field(None, description="A JSON object that the payload contains, as text.")
    q: str | None = Field(
        None, description="Terms that all must match, such as `type:bill payload.order = 50123 luck`."
    )


_STATUSES = Field(None, description=f"{_MANY} pending, running, blocked, completed, dead, cancelled.")


class ListFilter(_Filter):
    """Filters of tasks, including their status."""

    status: list[str] | None = _STATUSES


class TaskQuery(ListFilter):
    """The tasks to list."""

    limit: int = Field(50, description="1 to 1,000.")
    cursor: str | None = Field(None, description="The next_cursor of the previous page, with the same filters.")
    fields: str | None = Field(None, description=FIELDS)


class DeadQuery(_Filter):
    """The dead tasks to list: ended_after and ended_before refer to the time of death."""

    limit: Limit = 50
    cursor: Cursor = None
    fields: str | None = Field(None, description=FIELDS)


class BulkFilter(_Filter):
    """The tasks to change: the filters of the list, typed as JSON."""

    model_config = ConfigDict(strict=True)

    status: list[str] | None = _STATUSES


class Bulk(StrictModel):
    """One action on all tasks that match a filter and allow the action."""

    action: StrictStr = Field(json_schema_extra={"enum": list(ACTIONS)})
    filter: BulkFilter
    limit: StrictInt = Field(
        MAX_CHANGED,
        description="Maximum number of matching tasks to examine, the latest first.",
        json_schema_extra={"minimum": 1, "maximum": MAX_CHANGED},
    )
    dry_run: StrictBool = Field(False, description="Change nothing, only report what would be changed.")
    cursor: StrictStr | None = Field(None, description="The next_cursor of the previous answer, to continue after it.")


class PayloadEdits(StrictModel):
    """One change to the payloads of all waiting tasks that match a filter."""

    patch: Annotated[dict[str, Any], WithJsonSchema({"type": "object", "minProperties": 1})] = Field(
        description="A merge patch (RFC 7396): its values are set, null removes a key, objects are merged."
    )
    filter: BulkFilter
    limit: StrictInt = Field(
        BATCH,
        description="Maximum number of matching tasks to examine, the latest first.",
        json_schema_extra={"minimum": 1, "maximum": MAX_BATCH},
    )
    cursor: StrictStr | None = Field(None, description="The next_cursor of the previous batch.")
    dry_run: StrictBool = Field(False, description="Change nothing, only report what would be changed.")


def filters_of(query: ListFilter | DeadQuery | BulkFilter, actor: Actor) -> TaskFilters:
    """Return the given filters. Raises AccessDenied when they match on fields that are hidden from the actor."""
    given: dict[str, Any] = query.model_dump(exclude_none=True, exclude={"limit", "cursor", "format", "fields"})
    given |= {name: given.pop(short) for short, name in (("id", "ids"), ("q", "query")) if short in given}
    given = dict(visible(actor, cast(TaskFilters, given)))
    if not actor.sees_payloads and (asked := sorted(given.keys() & set(SECRETS))):
        raise AccessDenied(403, f"{asked[0]} filters by a field that is hidden from viewers")
    return cast(TaskFilters, given)
