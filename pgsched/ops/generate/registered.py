"""What a generator is given: the task types of the register, in one order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pgsched.domain.records import HandlerInfo

CATCH_ALL = "*"


@dataclass(frozen=True, kw_only=True)
class TaskType:
    """One type of task, as its handler says."""

    task_type: str
    payload_schema: Mapping[str, Any] | None
    """The JSON Schema of the payload; None: nobody says."""
    description: str | None


def of_register(handlers: Iterable[HandlerInfo]) -> list[TaskType]:
    """Return the types of the register in the database, but for retired ones and the catch-all."""
    return _in_order(
        TaskType(task_type=one.task_type, payload_schema=_in_one_order(one.payload_schema), description=one.description)
        for one in handlers
        if one.retired_at is None
    )


def of_entries(entries: Iterable[Mapping[str, Any]]) -> list[TaskType]:
    """Return the types that an app registers."""
    return _in_order(
        TaskType(
            task_type=one["task_type"],
            payload_schema=_in_one_order(one["payload_schema"]),
            description=one["description"],
        )
        for one in entries
    )


def _in_one_order(schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The schema with its keys sorted: the database does not keep the order that they had in the code."""
    if schema is None:
        return None
    found: Mapping[str, Any] = json.loads(json.dumps(schema, sort_keys=True))
    return found


def _in_order(types: Iterable[TaskType]) -> list[TaskType]:
    return sorted((one for one in types if one.task_type != CATCH_ALL), key=lambda one: one.task_type)
