"""What a client asks of the database about queues. Pure, as :mod:`pgsched.db.commands`."""

from __future__ import annotations

from typing import TypedDict

from pgsched.db.commands import Command, Rows
from pgsched.db.settings_commands import RETENTION, retention_of
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import QueueSettings, read
from pgsched.domain.retention_age import Age
from pgsched.domain.validation import RULES, Duration, interval_of

MAX_LIMIT_OF_QUEUE = 1_000_000
"""The highest limit; the lowest is 1."""
ORDERINGS = ("fifo", "lifo")


class QueueLimits(TypedDict, total=False):
    """Limits of a queue over all workers; what is left out has none."""

    concurrency: int | None
    """So many of its tasks run at once."""
    concurrency_per_key: int | None
    """So many with the same ``concurrency_key`` run at once."""
    rate: int | None
    """So many start within ``per``."""
    rate_per_key: int | None
    """So many with the same ``concurrency_key`` start within ``per``."""
    per: Duration
    """The time of a rate; a second when left out."""


class QueueOptions(TypedDict, total=False):
    """Settings of a queue; what is left out stays as it is."""

    ordering: str
    """``fifo`` or ``lifo``."""
    ageing: Duration | None
    """A row that has waited so long counts as one priority higher, for each such span; None: off."""
    retention: Age | None
    """Completed and cancelled tasks older than this are deleted; ``"forever"``: none; None: as the settings say."""
    retention_count: int | str | None
    """Of completed and cancelled tasks so many are kept; as before."""
    dead_retention: Age | None
    """As ``retention``, of dead tasks."""
    dead_retention_count: int | str | None
    """As ``retention_count``, of dead tasks."""
    archive: bool | None
    """What is deleted is copied to ``pgsched.archived_tasks``; None: as the settings say."""
    allow_short: bool
    """``retention`` and ``dead_retention`` may be shorter than an hour."""


def get_queue(name: str) -> Command[QueueSettings]:
    """Read the settings of a queue."""
    check = RULES["queue"][1]
    return Command(
        load_statement("get_queue"), {"queue": check("queue", name)}, lambda rows: read(QueueSettings, rows[0])
    )


def limit_queue(name: str, limits: QueueLimits) -> Command[None]:
    """Give a queue these limits instead of those it had."""
    numbers = {
        limit: _number(name, limit, limits.get(limit))
        for limit in ("concurrency", "concurrency_per_key", "rate", "rate_per_key")
    }
    unknown = set(limits) - {*numbers, "per"}
    if unknown:
        raise InvalidTask(f"limits of queue {name!r}: {min(unknown)!r} is no limit")
    if all(number is None for number in numbers.values()):
        raise InvalidTask(f"limits of queue {name!r}: give one at least; unlimit_queue takes them away")
    per = limits.get("per")
    if per is not None and numbers["rate"] is None and numbers["rate_per_key"] is None:
        raise InvalidTask(f"limits of queue {name!r}: per is the time of a rate: it needs rate or rate_per_key")
    params = {"queue": _name(name), **numbers, "per": None if per is None else interval_of("per", per).to_text()}
    return Command(load_statement("limit_queue"), params, _nothing)


def unlimit_queue(name: str) -> Command[bool]:
    """Take the limits of a queue away; whether it had some."""
    return Command(load_statement("unlimit_queue"), {"queue": _name(name)}, lambda rows: bool(rows[0]["changed"]))


def set_queue(name: str, options: QueueOptions) -> Command[None]:
    """Change settings of a queue."""
    unknown = set(options) - {"ordering", "ageing", "allow_short", *RETENTION}
    if unknown:
        raise InvalidTask(f"queue {name!r}: {min(unknown)!r} is no setting")
    if not set(options) - {"allow_short"}:
        raise InvalidTask(f"queue {name!r}: nothing to change")
    ordering, ageing = options.get("ordering"), options.get("ageing")
    if ordering not in (*ORDERINGS, None):
        raise InvalidTask(f"ordering must be one of {', '.join(ORDERINGS)}, got {ordering!r}")
    params = {
        "queue": _name(name),
        "ordering": ordering,
        "ageing": None if ageing is None else interval_of("ageing", ageing).to_text(),
        **retention_of(options),
        "given": list(options),
    }
    return Command(load_statement("set_queue"), params, _nothing)


def _nothing(_rows: Rows) -> None:
    return None


def _name(name: str) -> str:
    if not isinstance(name, str) or "\0" in name:
        raise InvalidTask(f"queue must be text without the character \\0, got {name!r}")
    return name


def _number(queue: str, limit: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_LIMIT_OF_QUEUE:
        rule = f"{limit} must be a whole number between 1 and {MAX_LIMIT_OF_QUEUE}"
        raise InvalidTask(f"limits of queue {queue!r}: {rule}, got {str(value)[:100]}")
    return value
