"""What a client asks of the database about many tasks that fit a filter. Pure, as :mod:`pgsched.db.queries`."""

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
"""What may be done to many tasks at once."""
BATCH: Final = 1000
"""Tasks that one transaction of a change in batches covers, at the most."""
MAX_FOUND: Final = 1000
"""The longest page."""
MAX_CHANGED: Final = 10_000
"""Maximum number of tasks that one change covers."""
MAX_SCANNED: Final = 50_000
"""Maximum number of rows that a page looks at for filters without an index."""

FIRST_READ: Final = 50
"""Tasks of the first page that is read of all of them; the next pages have as many as make about 2 MB."""
_READ_BYTES: Final = 2_000_000

_limit_found = whole(1, MAX_FOUND)
_limit_listed = whole(1, MAX_LIMIT)
_limit_changed = whole(1, MAX_CHANGED)
_batch = whole(1, BATCH)
_action = one_of(*ACTIONS)
_before = whole(-MAX_BIGINT, MAX_BIGINT, rule="be the id of a task")


class Page(NamedTuple):
    """The tasks that were found, the latest first."""

    tasks: list[Task]
    next_before: int | None
    """The next page comes before this id; None when nothing is left to look at."""

    @property
    def next_cursor(self) -> str | None:
        """The same, as a cursor."""
        return write_cursor("tasks", self.next_before)


class FoundIds(NamedTuple):
    """The ids of the tasks that were found, the latest first."""

    ids: list[int]
    next_before: int | None
    """As in a :class:`Page`."""


class Changed(NamedTuple):
    """What a change to many tasks did, or would do."""

    matched: int
    """Number of tasks that fit the filter, up to the limit."""
    changed: list[int]
    """The tasks that it suited, by their ids."""
    more: bool
    """There may be more that fit: the limit was reached."""
    next_before: int | None = None
    """Those come before this id; None when nothing is left to look at."""


class BulkProgress(NamedTuple):
    """How far a change in batches has come."""

    looked_at: int
    """Tasks that fit so far."""
    changed: int
    """Tasks that were changed so far."""
    ids: list[int]
    """Those that the last batch changed."""


class ListOptions(TaskFilters, total=False):
    """Which tasks are listed: all filters, and which page of them."""

    limit: int
    """50 when it is left out; 10,000 at most."""
    before_id: int | None
    cursor: str | None
    """The ``next_cursor`` of the page before; instead of ``before_id``."""


def list_tasks(
    *, limit: int = 50, before_id: int | None = None, cursor: str | None = None, **filters: Unpack[TaskFilters]
) -> Command[PagedList[Task]]:
    """Read a page of the tasks that fit, the latest first: a full one, however many rows are looked at for it."""
    before = place_of("tasks", cursor, "before_id", before_id, int)
    found = _find(filters, limit=_limit_listed("limit", limit), before_id=before, only_ids=False, bounded=False)
    read_page = pages_of(Task, "tasks", limit, "id")
    return found._replace(parse=lambda rows: read_page([row for row in rows if row["found_id"] is not None]))


def find_tasks(filters: TaskFilters, *, limit: int, before_id: int | None, scan: int | None = None) -> Command[Page]:
    """Read a page of the tasks that fit. It may be short, even empty, and still not be the last one.

    ``scan`` is how many rows are looked at for filters without an index; None: as many as a page may.
    """

    def parse(rows: Rows) -> Page:
        found = [read(Task, row) for row in rows if row["found_id"] is not None]
        return Page(found, _next(rows, len(found), limit))

    found = _find(filters, limit=_limit_found("limit", limit), before_id=before_id, only_ids=False, scan=scan)
    return found._replace(parse=parse)


def find_ids(filters: TaskFilters, *, limit: int, before_id: int | None) -> Command[FoundIds]:
    """Read the ids of the tasks that fit, page by page as :func:`find_tasks`."""

    def parse(rows: Rows) -> FoundIds:
        ids = [int(row["found_id"]) for row in rows if row["found_id"] is not None]
        return FoundIds(ids, _next(rows, len(ids), limit))

    found = _find(filters, limit=_limit_changed("limit", limit), before_id=before_id, only_ids=True)
    return found._replace(parse=parse)


def at_this_moment(filters: TaskFilters) -> TaskFilters:
    """Return the filters with those of a query in its place, and times for how long ago. Raises InvalidTask."""
    return resolved(filters, now=datetime.now(UTC))


def size_of(task: Task) -> int:
    """Return about how many bytes a task takes."""
    return 1000 + len(repr(task.payload)) + len(repr(task.result))


def next_limit(limit: int, *, number: int, size: int) -> int:
    """Return how many tasks the page after one of ``number`` tasks, and ``size`` bytes, is to have."""
    return max(1, min(_READ_BYTES * number // size, limit * 4, MAX_FOUND)) if number else limit


def among(filters: TaskFilters, ids: Sequence[int]) -> TaskFilters:
    """Return the filters for these tasks and no others."""
    return TaskFilters(**{**at_this_moment(filters), "ids": ids})


def chunks(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut ids into pieces of this size."""
    return (ids[at : at + size] for at in range(0, len(ids), size))


def change_tasks(action: str, ids: Sequence[int], *, dry_run: bool, run_by: str | None = None) -> Command[list[int]]:
    """Do one thing to each of these tasks that it suits; which ones. In a dry run only tell."""
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
    """Refuse a change to many tasks that does not say which, or of too many. Raises InvalidTask."""
    if not any(value is not None for value in filters.values()):
        raise InvalidTask("a change to many tasks must have a filter")
    _limit_changed("limit", limit)


def checked_batch(action: str, filters: TaskFilters, batch: int) -> int:
    """Return the size of a batch, or refuse a change in batches that makes no sense. Raises InvalidTask."""
    known_action(action)
    checked_bulk(filters, limit=1)
    parameters_of(filters)
    return int(_batch("batch", batch))


def parameters_of(filters: TaskFilters) -> dict[str, Any]:
    """Return filters as parameters, a query as those that it stands for at this moment. Raises InvalidTask."""
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
    """Before which id the next page comes: the last task of a full page, else where the look ended."""
    if found == limit:
        return int(rows[-1]["found_id"])
    return rows[0]["scanned_to"] if rows else None
