"""Which tasks are meant: the filters of lists and of changes to many, by the rules of their columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import unique_keys
from pgsched.domain.validation import MAX_BIGINT, RULES, flag, refused, shown, text_of, whole

STATUSES: Final = ("pending", "running", "blocked", "completed", "dead", "cancelled")
SCHEDULE_TYPES: Final = ("one_time", "recurring", "repeating")
MAX_VALUES: Final = 1000
"""So many ids or words may be given for one filter."""
LONGEST_SEARCH: Final = 500


class TaskFilters(TypedDict, total=False):
    """A task is meant when it fits all that are given; of a list, when it fits one of its values."""

    ids: Sequence[int]
    """These tasks and no others; of each list 1,000 values at most."""
    queue: Sequence[str]
    """In one of these queues."""
    task_type: Sequence[str]
    """Of one of these types."""
    status: Sequence[str]
    """``pending``, ``running``, ``blocked``, ``completed``, ``dead`` or ``cancelled``."""
    schedule_type: Sequence[str]
    """``one_time``, ``recurring`` or ``repeating``."""
    priority: Sequence[int]
    """1 to 10."""
    tag: str
    """One of its tags."""
    tenant_id: str
    """Its tenant."""
    user_id: str
    """Its user."""
    created_by: str
    """Who made it."""
    enabled: bool
    """False: those that are paused."""
    idempotency_key: str
    """Its key."""
    concurrency_key: str
    """Its key for limits."""
    parent_id: int
    """The children of this task."""
    depends_on: int
    """A task that it waits for, or waited for."""
    locked_by: str
    """The id of the worker that holds it."""
    name: str
    """A part of its task_name, in any case of letters."""
    search: str
    """A text in its payload, as JSON has it, in any case of letters."""
    payload: str
    """A JSON object that its payload contains."""
    error: str
    """A part of its last_error, in any case of letters."""
    created_after: datetime
    """Made at this time or later."""
    created_before: datetime
    """Made before this time."""
    due_after: datetime
    """Its next_run_at is this time or later."""
    due_before: datetime
    """Its next_run_at is before this time."""
    started_after: datetime
    """Its last claim was made at this time or later."""
    started_before: datetime
    """Its last claim was made before this time."""
    ended_after: datetime
    """It was completed or cancelled or died at this time or later."""
    ended_before: datetime
    """It was completed or cancelled or died before this time."""


SECRETS: Final = ("search", "payload", "error")
"""Filters by what payloads and errors hold: who must not read those must not ask by them either."""
INDEXED: Final = ("ids", "idempotency_key", "parent_id")
"""Filters for which an index finds the few rows that fit."""

_WORDS: Final = {"status": STATUSES, "schedule_type": SCHEDULE_TYPES}
_TIMES: Final = tuple(name for name in TaskFilters.__optional_keys__ if name.endswith(("_after", "_before")))
_id = whole(-MAX_BIGINT, MAX_BIGINT)
_search = text_of(LONGEST_SEARCH)


def filter_parameters(filters: TaskFilters) -> dict[str, Any]:
    """Return the filters as parameters, None for what was not given. Raises InvalidTask, naming filter, rule, value."""
    if unknown := sorted(set(filters) - TaskFilters.__optional_keys__):
        raise InvalidTask(f"{shown(unknown[0])} is no filter of tasks")
    given = {name: value for name, value in filters.items() if value is not None}
    return {name: _checked(name, given.get(name)) for name in sorted(TaskFilters.__optional_keys__)}


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("ids", "priority"):
        check = _id if name == "ids" else RULES["priority"][1]
        return [check(f"each of {name}", one) for one in _several(name, value)]
    if name in ("queue", "task_type", *_WORDS):
        return [_word(name, one) for one in _several(name, value)]
    if name in ("parent_id", "depends_on"):
        return _id(name, value)
    if name == "enabled":
        return flag(name, value)
    if name == "payload":
        return _object(name, value)
    if name in _TIMES:
        return RULES["at"][1](name, value)
    return _search(name, value)


def _several(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise refused(name, "be a list", values)
    if not 1 <= len(values) <= MAX_VALUES:
        raise InvalidTask(f"{name} must have 1 to {MAX_VALUES} values, got {len(values)}")
    return values


def _word(name: str, value: Any) -> Any:
    words = _WORDS.get(name)
    if words is None:
        return _search(name, value)
    if value not in words:
        raise InvalidTask(f"{name} must be one of {', '.join(words)}, got {shown(value)}")
    return value


def _object(name: str, value: Any) -> Any:
    text = _search(name, value)
    try:
        wanted = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        raise refused(name, "be a JSON object", value) from None
    return RULES["payload"][1](name, wanted)
