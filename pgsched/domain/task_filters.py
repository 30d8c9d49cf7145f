"""The filters of lists and bulk changes, by the rules of their columns."""

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
"""Maximum number of ids or words for one filter."""
LONGEST_SEARCH: Final = 500


class TaskFilters(TypedDict, total=False):
    """Matches a task when all given filters do; several values for one filter match when one of them does.

    None is the same as leaving the filter out.
    """

    ids: Sequence[int] | int | None
    """One of these ids, at most 1,000."""
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
    """Its creator."""
    enabled: bool | None
    """False matches paused tasks."""
    idempotency_key: str | None
    concurrency_key: str | None
    """Its key for limits."""
    parent_id: int | None
    """The children of this task."""
    depends_on: int | None
    """A task that it waits or waited for."""
    locked_by: str | None
    """The id of the worker that holds it."""
    name: str | None
    """A part of its task_name, ignoring case."""
    search: str | None
    """A text in its payload as JSON, ignoring case."""
    payload: str | None
    """A JSON object that its payload contains."""
    error: str | None
    """A part of its last_error, ignoring case."""
    created_after: datetime | None
    """Created at this time or later."""
    created_before: datetime | None
    """Created before this time."""
    due_after: datetime | None
    """Its next_run_at is this time or later."""
    due_before: datetime | None
    """Its next_run_at is before this time."""
    started_after: datetime | None
    """Last claimed at this time or later."""
    started_before: datetime | None
    """Last claimed before this time."""
    ended_after: datetime | None
    """Completed, cancelled or dead at this time or later."""
    ended_before: datetime | None
    """Completed, cancelled or dead before this time."""
    text: Sequence[str] | str | None
    """A text in its type, name, keys, tags, payload (as JSON) or last error, ignoring case; several values must all
    occur."""
    label: Sequence[str] | str | None
    """Like ``text``, but not in its payload or last error."""
    query: str | None
    """Terms of the search language, which must all match: ``type:bill payload.order = 50123``."""


SEVERAL: Final = ("ids", "queue", "task_type", "status", "schedule_type", "priority", "text", "label")
"""Filters that take several values."""
NUMBERS: Final = ("ids", "priority", "parent_id", "depends_on")
"""Filters by whole numbers."""
MOMENTS: Final = tuple(name for name in TaskFilters.__annotations__ if name.endswith(("_after", "_before")))
"""Filters by times."""
SECRETS: Final = ("search", "payload", "error", "text")
"""Filters by the contents of payloads and errors: whoever may not read those may not search for them either."""
INDEXED: Final = ("ids", "idempotency_key", "parent_id")
"""Filters for which an index finds the few matching rows."""


def _json_text(field: str, value: Any) -> str:
    return str(checked("payload", read_object(_search(field, value), field)))


def _some(check: Check) -> Check:
    """Return a check for one value or a list of them, each of which must pass a check."""

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
    """Raise InvalidTask, naming filter, rule and value, for a value that the filter does not accept."""
    _CHECKS[name](name, value)


def filter_parameters(filters: TaskFilters) -> dict[str, Any]:
    """Return the filters as parameters, None for those not given. Raises InvalidTask, naming filter, rule, value.

    A ``query`` is not among them: :func:`pgsched.domain.search_query.resolved` replaces it with its filters.
    """
    if unknown := sorted(set(filters) - _CHECKS.keys()):
        raise InvalidTask(f"{shown(unknown[0])} is no filter of tasks")
    return {name: optional(check)(name, filters.get(name)) for name, check in sorted(_CHECKS.items())}
