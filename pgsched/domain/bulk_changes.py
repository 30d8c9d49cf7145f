"""Changes to all tasks that match a filter, made in the background: the request and its progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from pgsched.domain.records import Record, to_json_able
from pgsched.domain.task_filters import MOMENTS, SECRETS, TaskFilters

UNDO_SECONDS: Final = 10
"""A change starts after this delay unless it is undone first."""
OPEN: Final = ("waiting", "running")
"""The statuses of a change that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChange(Record):
    """A change to all tasks that match a filter: a row of ``pgsched.bulk_changes``."""

    id: int
    action: str
    """enable, disable, run, cancel, retry or delete."""
    described: str
    """The filter as terms of the search language."""
    status: str
    """``waiting`` (it can be undone), ``running``, ``undone``, ``stopped``, ``failed`` or ``done``."""
    actor: str
    role: str
    created_at: datetime
    starts_at: datetime
    ended_at: datetime | None
    expected: int | None
    """Number of tasks that matched when the change was requested; None when there were too many to count."""
    before_id: int | None
    """Tasks with this id or a higher one have been processed."""
    looked_at: int
    """Number of tasks that matched so far."""
    changed: int
    """Number of tasks that were changed."""
    unsuited: list[int]
    """The first 100 tasks that matched but were not changed because the action does not suit their status."""
    error: str | None
    """Why the change failed."""
    starts_in: int
    """Seconds until the change starts."""

    @property
    def open(self) -> bool:
        """Whether the change has not ended."""
        return self.status in OPEN


def filter_as_json(filters: TaskFilters) -> str:
    """Return filters in the form in which they are stored."""
    return json.dumps({name: to_json_able(value) for name, value in filters.items() if value is not None})


def filter_of_json(kept: Mapping[str, Any]) -> TaskFilters:
    """Return the filters that were stored."""
    read = {name: _moment(value) if name in MOMENTS else value for name, value in kept.items()}
    return cast(TaskFilters, read)


def without_secrets(filters: TaskFilters) -> dict[str, Any]:
    """Return filters for an entry of the audit log, without the texts that payloads and errors were searched for."""
    return {name: "(hidden)" if name in SECRETS else to_json_able(value) for name, value in filters.items()}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
