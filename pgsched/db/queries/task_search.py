"""Commands about many tasks that match a filter. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Unpack

from pgsched.db.query import MAX_LIMIT, Command, Rows, command, pages_of, unprepared
from pgsched.domain.errors import InvalidTask
from pgsched.domain.pages import PagedList, place_of, write_cursor
from pgsched.domain.records import Task, read
from pgsched.domain.search_query import resolved
from pgsched.domain.task_filters import INDEXED, TaskFilters, filter_parameters
from pgsched.domain.validation import MAX_BIGINT, one_of, optional, text, whole

ACTIONS: Final = ("enable", "disable", "run", "cancel", "retry", "delete")
"""The actions for many tasks at once."""
BATCH: Final = 1000
"""Maximum number of tasks in one transaction of a change in batches."""
MAX_FOUND: Final = 1000
"""Maximum size of a page."""
MAX_CHANGED: Final = 10_000
"""Maximum number of tasks that one change covers."""
MAX_SCANNED: Final = 50_000
"""Maximum number of rows that a page examines for filters without an index."""

FIRST_READ: Final = 50
"""Size of the first page when all tasks are read; later pages have as many tasks as make about 2 MB."""
_READ_BYTES: Final = 2_000_000

_limit_found = whole(1, MAX_FOUND)
_limit_listed = whole(1, MAX_LIMIT)
_limit_changed = whole(1, MAX_CHANGED)
_batch = whole(1, BATCH)
_action = one_of(*ACTIONS)
_before = whole(-MAX_BIGINT, MAX_BIGINT, rule="be the id of a task")


class Page(NamedTuple):
    """The matching tasks, the latest first."""

    tasks: list[Task]
    next_before: int | None
    """The next page comes before this id; None when there is no next page."""

    @property
    def next_cursor(self) -> str | None:
        """The same as a cursor."""
        return write_cursor("tasks", self.next_before)


class FoundIds(NamedTuple):
    """The ids of the matching tasks, the latest first."""

    ids: list[int]
    next_before: int | None
    """As in :class:`Page`."""


class Changed(NamedTuple):
    """The result of a change to many tasks, or of its dry run."""

    matched: int
    """Number of tasks that match the filter, up to the limit."""
    changed: list[int]
    """The ids of the tasks that the action suited."""
    more: bool
    """Whether more tasks may match: the limit was reached."""
    next_before: int | None = None
    """Those come before this id; None when there are none left."""


class BulkProgress(NamedTuple):
    """The progress of a change in batches."""

    looked_at: int
    """Tasks that have matched so far."""
    changed: int
    """Tasks that have been changed so far."""
    ids: list[int]
    """Tasks that the last batch changed."""


class ListOptions(TaskFilters, total=False):
    """Filters of a list of tasks, and its page."""

    limit: int
    """50 by default, at most 10,000."""
    before_id: int | None
    cursor: str | None
    """The ``next_cursor`` of the previous page; instead of ``before_id``."""


def list_tasks(
    *, limit: int = 50, before_id: int | None = None, cursor: str | None = None, **filters: Unpack[TaskFilters]
) -> Command[PagedList[Task]]:
    """Read a page of the matching tasks, the latest first: a full one, however many rows must be examined."""
    before = place_of("tasks", cursor, "before_id", before_id, int)
    found = _find(filters, limit=_limit_listed("limit", limit), before_id=before, only_ids=False, bounded=False)
    read_page = pages_of(Task, "tasks", limit, "id")
    return found._replace(parse=lambda rows: read_page([row for row in rows if row["found_id"] is not None]))


def find_tasks(filters: TaskFilters, *, limit: int, before_id: int | None, scan: int | None = None) -> Command[Page]:
    """Read a page of the matching tasks. It may be short, even empty, without being the last one.

    ``scan`` is the number of rows to examine for filters without an index; None for a page's maximum.
    """

    def parse(rows: Rows) -> Page:
        found = [read(Task, row) for row in rows if row["found_id"] is not None]
        return Page(found, _next(rows, len(found), limit))

    found = _find(filters, limit=_limit_found("limit", limit), before_id=before_id, only_ids=False, scan=scan)
    return found._replace(parse=parse)


def find_ids(filters: TaskFilters, *, limit: int, before_id: int | None) -> Command[FoundIds]:
    """Read the ids of the matching tasks, page by page like :func:`find_tasks`."""

    def parse(rows: Rows) -> FoundIds:
        ids = [int(row["found_id"]) for row in rows if row["found_id"] is not None]
        return FoundIds(ids, _next(rows, len(ids), limit))

    found = _find(filters, limit=_limit_changed("limit", limit), before_id=before_id, only_ids=True)
    return found._replace(parse=parse)


def at_this_moment(filters: TaskFilters) -> TaskFilters:
    """Return the filters with their query resolved, and with times in place of ages. Raises InvalidTask."""
    return resolved(filters, now=datetime.now(UTC))


def size_of(task: Task) -> int:
    """Return about how many bytes a task takes."""
    return 1000 + len(repr(task.payload)) + len(repr(task.result))


def next_limit(limit: int, *, number: int, size: int) -> int:
    """Return the size of the page after one of ``number`` tasks and ``size`` bytes."""
    return max(1, min(_READ_BYTES * number // size, limit * 4, MAX_FOUND)) if number else limit


def among(filters: TaskFilters, ids: Sequence[int]) -> TaskFilters:
    """Return the filters for these tasks and no others."""
    return TaskFilters(**{**at_this_moment(filters), "ids": ids})


def chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Split ids into pieces of this size."""
    return (ids[at : at + size] for at in range(0, len(ids), size))


def change_tasks(action: str, ids: Sequence[int], *, dry_run: bool, run_by: str | None = None) -> Command[list[int]]:
    """Apply an action to each of these tasks that it suits; returns which. A dry run only reports them."""
    params = {
        "action": known_action(action),
        "ids": list(ids),
        "dry_run": dry_run,
        "run_by": optional(text)("run_by", run_by),
    }
    return command("change_tasks", lambda rows: [int(row["id"]) for row in rows], **params)


def known_action(action: str) -> str:
    """Return an action on many tasks, or raise InvalidTask."""
    return str(_action("action", action))


def checked_bulk(filters: TaskFilters, *, limit: int) -> None:
    """Reject a change to many tasks that does not say which, or covers too many. Raises InvalidTask."""
    if not any(value is not None for value in filters.values()):
        raise InvalidTask("a change to many tasks must have a filter")
    _limit_changed("limit", limit)


def checked_batch(action: str, filters: TaskFilters, batch: int) -> int:
    """Return the size of a batch, or reject invalid options of a change in batches. Raises InvalidTask."""
    known_action(action)
    checked_bulk(filters, limit=1)
    parameters_of(filters)
    return int(_batch("batch", batch))


def parameters_of(filters: TaskFilters) -> dict[str, Any]:
    """Return filters as parameters, a query as the filters that it currently stands for. Raises InvalidTask."""
    return filter_parameters(at_this_moment(filters))


def _find(
    filters: TaskFilters,
    *,
    limit: int,
    before_id: int | None,
    only_ids: bool,
    bounded: bool = True,
    scan: int | None = None,
) -> Command[Any]:
    params = parameters_of(filters)
    by_index = any(params[name] is not None for name in INDEXED) or params["status"] == ["dead"]
    params |= {
        "before_id": optional(_before)("before_id", before_id),
        "limit": limit,
        "scan": MAX_SCANNED if scan is None else scan,
        "bounded": bounded and not by_index,
        "only_ids": only_ids,
    }
    return unprepared("find_tasks", lambda rows: rows, **params)


def _next(rows: Rows, found: int, limit: int) -> int | None:
    """Return before which id the next page comes: the last task of a full page, else where the search ended."""
    if found == limit:
        return int(rows[-1]["found_id"])
    return rows[0]["scanned_to"] if rows else None
