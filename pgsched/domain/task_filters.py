"""Which tasks are meant: the filters of lists and of changes to many, by the rules of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from pgsched.domain.errors import InvalidTask, shown
from pgsched.domain.json_text import read_object
from pgsched.domain.validation import (
    MAX_BIGINT,
    RULES,
    Check,
    checked,
    flag,
    moment,
    one_of,
    optional,
    refused,
    text_of,
    whole,
)

STATUSES: Final = ("pending", "running", "blocked", "completed", "dead", "cancelled")
SCHEDULE_TYPES: Final = ("one_time", "recurring", "repeating")
MAX_VALUES: Final = 1000
"""So many ids or words may be given for one filter."""
LONGEST_SEARCH: Final = 500


class TaskFilters(TypedDict, total=False):
    """A task is meant when it fits all that are given; of several values for one filter, when it fits one of them.

    None is as what is left out.
    """

    ids: Sequence[int] | int | None
    """These tasks and no others; of several values 1,000 at most."""
    queue: Sequence[str] | str | None
    """In this queue, or one of these."""
    task_type: Sequence[str] | str | None
    """Of this type, or one of these."""
    status: Sequence[str] | str | None
    """``pending``, ``running``, ``blocked``, ``completed``, ``dead`` or ``cancelled``, or one of several."""
    schedule_type: Sequence[str] | str | None
    """``one_time``, ``recurring`` or ``repeating``, or one of several."""
    priority: Sequence[int] | int | None
    """1 to 10, or one of several."""
    tag: str | None
    """One of its tags."""
    tenant_id: str | None
    user_id: str | None
    created_by: str | None
    """Who made it."""
    enabled: bool | None
    """False: those that are paused."""
    idempotency_key: str | None
    concurrency_key: str | None
    """Its key for limits."""
    parent_id: int | None
    """The children of this task."""
    depends_on: int | None
    """A task that it waits for, or waited for."""
    locked_by: str | None
    """The id of the worker that holds it."""
    name: str | None
    """A part of its task_name, in any case of letters."""
    search: str | None
    """A text in its payload, as JSON has it, in any case of letters."""
    payload: str | None
    """A JSON object that its payload contains."""
    error: str | None
    """A part of its last_error, in any case of letters."""
    created_after: datetime | None
    """Made at this time or later."""
    created_before: datetime | None
    """Made before this time."""
    due_after: datetime | None
    """Its next_run_at is this time or later."""
    due_before: datetime | None
    """Its next_run_at is before this time."""
    started_after: datetime | None
    """Its last claim was made at this time or later."""
    started_before: datetime | None
    """Its last claim was made before this time."""
    ended_after: datetime | None
    """It was completed or cancelled or died at this time or later."""
    ended_before: datetime | None
    """It was completed or cancelled or died before this time."""
    text: Sequence[str] | str | None
    """A text in its type, name, keys, tags, payload (as JSON has it) or last error, in any case of letters; of several
    values it has all."""
    label: Sequence[str] | str | None
    """As ``text``, but not in its payload or last error."""
    query: str | None
    """Terms of the search language, which all must fit: ``type:bill payload.order = 50123``."""


SEVERAL: Final = ("ids", "queue", "task_type", "status", "schedule_type", "priority", "text", "label")
"""Filters that take several values."""
NUMBERS: Final = ("ids", "priority", "parent_id", "depends_on")
"""Filters by whole numbers."""
MOMENTS: Final = tuple(name for name in TaskFilters.__annotations__ if name.endswith(("_after", "_before")))
"""Filters by times."""
SECRETS: Final = ("search", "payload", "error", "text")
"""Filters by what payloads and errors hold: who must not read those must not ask by them either."""
INDEXED: Final = ("ids", "idempotency_key", "parent_id")
"""Filters for which an index finds the few rows that fit."""


def _json_text(field: str, value: Any) -> str:
    return str(checked("payload", read_object(_search(field, value), field)))


def _some(check: Check) -> Check:
    """One value or a list of them, each of which fits a check."""

    def check_each(field: str, values: Any) -> list[Any]:
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            return [check(field, values)]
        if not 1 <= len(values) <= MAX_VALUES:
            raise refused(field, f"have 1 to {MAX_VALUES} values", len(values))
        return [check(field, one) for one in values]

    return check_each


_id = whole(-MAX_BIGINT, MAX_BIGINT)
_search = text_of(LONGEST_SEARCH)
_CHECKS: Final[Mapping[str, Check]] = {
    **dict.fromkeys(TaskFilters.__optional_keys__ - {"query"}, _search),
    **dict.fromkeys(MOMENTS, moment),
    "ids": _some(_id),
    "queue": _some(_search),
    "task_type": _some(_search),
    "status": _some(one_of(*STATUSES)),
    "schedule_type": _some(one_of(*SCHEDULE_TYPES)),
    "priority": _some(RULES["priority"].check),
    "enabled": flag,
    "parent_id": _id,
    "depends_on": _id,
    "payload": _json_text,
    "text": _some(_search),
    "label": _some(_search),
}


def check_filter(name: str, value: Any) -> None:
    """Raise InvalidTask, naming filter, rule and value, for a value that the filter cannot have."""
    _CHECKS[name](name, value)


def filter_parameters(filters: TaskFilters) -> dict[str, Any]:
    """Return the filters as parameters, None for what was not given. Raises InvalidTask, naming filter, rule, value.

    A ``query`` is not among them: :func:`pgsched.domain.search_query.resolved` puts its filters in its place.
    """
    if unknown := sorted(set(filters) - _CHECKS.keys()):
        raise InvalidTask(f"{shown(unknown[0])} is no filter of tasks")
    return {name: optional(check)(name, filters.get(name)) for name, check in sorted(_CHECKS.items())}
