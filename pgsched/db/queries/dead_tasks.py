"""Commands about the dead letters. Pure, as :mod:`pgsched.db.queries`.

Changes are made in batches, each a command of its own, so that none holds its locks for long however many are dead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, Unpack

from pgsched.db.queries.task_search import BATCH, parameters_of
from pgsched.db.query import MAX_LIMIT, Command, Rows, choice, pages_of, unprepared, value
from pgsched.domain.errors import InvalidTask
from pgsched.domain.pages import PagedList, place_of
from pgsched.domain.records import Task
from pgsched.domain.retention_age import Age, age_of
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.validation import MAX_BIGINT, aware, flag, optional, whole

_id_of = whole(-MAX_BIGINT, MAX_BIGINT, rule="be the id of a task")
_limit = whole(1, MAX_LIMIT)


class DeadBatch(NamedTuple):
    """One batch of a change to dead tasks."""

    ids: list[int]
    """The tasks that were changed."""
    until: datetime
    """When the first batch started."""
    last: tuple[datetime, int] | None
    """Where the next batch continues; None when this one found nothing more."""

    @property
    def changed(self) -> int:
        """The number of these tasks."""
        return len(self.ids)


class DeadOptions(TaskFilters, total=False):
    """Filters of a list of dead tasks (``ended_after`` is when they died), and its page."""

    limit: int
    """50 by default, at most 10,000."""
    before: tuple[datetime, int] | None
    """The ``(died_at, id)`` of the last task of the previous page."""
    cursor: str | None
    """The ``next_cursor`` of the previous page; instead of ``before``."""


def list_dead(
    *,
    limit: int = 50,
    before: tuple[datetime, int] | None = None,
    cursor: str | None = None,
    **filters: Unpack[TaskFilters],
) -> Command[PagedList[Task]]:
    """Read a page of the matching dead letters, the latest first."""
    died_at, task_id = place_of("dead", cursor, "before", before, datetime, int) or (None, None)
    params = {
        **parameters_of(filters),
        "limit": _limit("limit", limit),
        "before_died_at": optional(aware)("before", died_at),
        "before_id": optional(_id_of)("before", task_id),
    }
    return unprepared("list_dead_tasks", pages_of(Task, "dead", limit, "died_at", "id"), **params)


Next = Callable[[DeadBatch | None], Command[DeadBatch]]
"""Creates the command for the batch after one; for the first after None."""


def retry_dead(*, queue: str | None, task_type: str | None, all: bool) -> Next:
    """Give every matching dead task all its attempts again, batch by batch. Raises InvalidTask."""
    _check_all(all, queue, task_type)
    return _batches("retry_dead_tasks", choice(queue=queue, task_type=task_type))


def purge_dead(*, queue: str | None, task_type: str | None, older_than: Age | None, all: bool) -> Next:
    """Delete the matching dead tasks, batch by batch. Raises InvalidTask."""
    _check_all(all, queue, task_type, older_than)
    return _batches("purge_dead_tasks", _dead(queue, task_type, older_than))


def count_dead(*, queue: str | None, task_type: str | None, older_than: Age | None = None) -> Command[int]:
    """Count the matching dead tasks."""
    return unprepared("count_dead_tasks", value("number"), **_dead(queue, task_type, older_than))


def _batches(name: str, params: dict[str, Any]) -> Next:
    def after(before: DeadBatch | None) -> Command[DeadBatch]:
        died_at, task_id = (before and before.last) or (None, None)
        until = before and before.until
        return unprepared(name, _batch, **params, until=until, after_died_at=died_at, after_id=task_id, batch=BATCH)

    return after


def _batch(rows: Rows) -> DeadBatch:
    row = rows[0]
    return DeadBatch(row["ids"], row["until"], (row["died_at"], row["id"]) if row["found"] else None)


def _check_all(everything: object, *filters: object) -> None:
    """Reject a change of many tasks without a filter, unless the caller confirms that all of them are meant."""
    if not flag("all", everything) and all(given is None for given in filters):
        raise InvalidTask("must be true where no filter is given", field="all")


def _dead(queue: str | None, task_type: str | None, older_than: Age | None) -> dict[str, Any]:
    age = optional(age_of)("older_than", older_than)
    return {**choice(queue=queue, task_type=task_type), "older_than": None if age is None else age.to_text()}
