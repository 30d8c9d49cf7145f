"""Commands about types and errors, from the statistics of upkeep. Pure, as its package."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack

from pgsched.db.query import MAX_LIMIT, Command, Rows, choice, row_as, rows_as, unprepared
from pgsched.domain.counted import CountedTime, Deployment, ErrorStats, HistogramBin, TypeBucket, TypeStats
from pgsched.domain.error_groups import MAX_HEADLINE, OTHER, group_of
from pgsched.domain.interval import Interval
from pgsched.domain.validation import Duration, aware, duration, interval_of, optional, plain_text, refused, whole

DEAD_BATCH = 2_000
"""Number of dead tasks that are searched at a time for those of a group."""
MAX_GROUPS = 200
"""Maximum number of groups of errors in a list."""
MAX_DEPLOYMENTS = 200
_limit = whole(1, MAX_LIMIT)
_within = duration(Interval(microseconds=300_000_000), Interval(days=400), rule="be between 5 minutes and 400 days")


class CountedOptions(TypedDict, total=False):
    """The period and the tasks."""

    within: Duration
    """Length of the period: at least 5 minutes, at most 400 days."""
    ago: Duration | None
    """Shifts the period back by this much: ``1d`` is yesterday."""
    queue: str | None


class ErrorFilters(CountedOptions, total=False):
    """Which errors."""

    task_type: str | None
    limit: int


class DeadOfError(NamedTuple):
    """A batch of dead tasks, and those of them that died of one error."""

    ids: list[int]
    looked_at: int
    until: datetime | None
    last: tuple[datetime, int] | None
    """Where the next batch continues; None when this one found nothing more."""


def type_stats(task_type: str | None = None, **options: Unpack[CountedOptions]) -> Command[list[TypeStats]]:
    """Read what ended of each type, or of one; the most frequent first."""
    return unprepared("list_type_stats", rows_as(TypeStats), **_time(options), **_of(task_type, options))


def type_history(task_type: str | None, **options: Unpack[CountedOptions]) -> Command[list[TypeBucket]]:
    """Read what ended of a type, bucket by bucket; None for all types."""
    return unprepared("list_type_history", rows_as(TypeBucket), **_time(options), **_of(task_type, options))


def type_histogram(task_type: str | None, **options: Unpack[CountedOptions]) -> Command[list[HistogramBin]]:
    """Read how long attempts at a type ran and waited; None for all types."""
    return unprepared("list_type_histogram", rows_as(HistogramBin), **_time(options), **_of(task_type, options))


def errors(**filters: Unpack[ErrorFilters]) -> Command[list[ErrorStats]]:
    """Read the errors with which attempts failed, the most frequent first."""
    given = {**_time(filters, "1d"), **_of(filters.get("task_type"), filters)}
    limit = _limit("limit", filters.get("limit", MAX_GROUPS))
    return unprepared("list_error_stats", rows_as(ErrorStats), **given, id=None, limit=limit)


def error(id: str, **options: Unpack[CountedOptions]) -> Command[ErrorStats | None]:
    """Read one group of errors; None when nothing failed with it in this period."""
    given = {**_time(options, "1d"), **_of(None, options), "id": plain_text("id", id), "limit": 1}

    def parse(rows: Rows) -> ErrorStats | None:
        return row_as(ErrorStats)(rows) if rows else None

    return unprepared("list_error_stats", parse, **given)


def deployments(*, since: datetime, until: datetime, task_type: str | None = None) -> Command[list[Deployment]]:
    """Read when versions of the code became the newest, the latest first."""
    given = {"since": aware("since", since), "until": aware("until", until), **choice(task_type=task_type)}
    return unprepared("list_deployments", rows_as(Deployment), **given, limit=MAX_DEPLOYMENTS)


def counted_time(**options: Unpack[CountedOptions]) -> Command[CountedTime]:
    """Read the buckets of a period."""
    return unprepared("get_counted_time", row_as(CountedTime), **_time(options))


def dead_of_error(group: ErrorStats) -> Callable[[DeadOfError | None], Command[DeadOfError]]:
    """Find the dead tasks that died of an error, batch by batch. Raises InvalidTask for anything but a single group."""
    if group.id == OTHER:
        raise refused("id", "be a group of errors, not all others", group.id)

    def parse(rows: Rows) -> DeadOfError:
        ids = [row["id"] for row in rows if row["headline"] is not None and _is_of(group, row["headline"])]
        last = (rows[-1]["died_at"], rows[-1]["id"]) if rows else None
        return DeadOfError(ids, len(rows), rows[0]["until"] if rows else None, last)

    def after(before: DeadOfError | None) -> Command[DeadOfError]:
        died_at, task_id = (before and before.last) or (None, None)
        given = {"after_died_at": died_at, "after_id": task_id, "until": before and before.until, "batch": DEAD_BATCH}
        return unprepared("find_dead_errors", parse, **given, exception=group.exception, characters=MAX_HEADLINE)

    return after


def _is_of(group: ErrorStats, headline: str) -> bool:
    return group_of(headline).fingerprint == group.id


def _time(options: CountedOptions, within: str = "1h") -> dict[str, Any]:
    ago = options.get("ago")
    return {
        "within": _within("within", options.get("within", within)),
        "ago": "0" if ago is None else interval_of("ago", ago).to_text(),
    }


def _of(task_type: str | None, options: CountedOptions) -> dict[str, Any]:
    return {"task_type": optional(plain_text)("task_type", task_type), **choice(queue=options.get("queue"))}
