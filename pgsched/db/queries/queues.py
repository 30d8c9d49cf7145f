"""Commands about queues. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypedDict

from pgsched.db.queries.settings import RETENTION, known_options, retention_of
from pgsched.db.query import Command, changed, choice, command, nothing, row_as, rows_as
from pgsched.domain.errors import Described, InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.records import QueueInfo, QueueSettings, StatusCount
from pgsched.domain.retention_age import Age, leaving_age
from pgsched.domain.task_spec import TaskOptions, default_columns
from pgsched.domain.validation import Check, Duration, checked, duration, one_of, optional, plain_text, whole

COUNTED: Final = 10_000
"""Maximum number of waiting, and of dead, tasks of a queue to count; more are estimated."""
COUNTED_DUE: Final = 1_000
"""Maximum number of due or running tasks of a queue and priority to count; more are estimated."""
MAX_LIMIT_OF_QUEUE = 1_000_000
"""The highest limit; the lowest is 1."""
ORDERINGS = ("fifo", "lifo")


class QueueLimits(TypedDict, total=False):
    """Limits of a queue across all workers; what is left out is unlimited."""

    concurrency: int | None
    """Maximum number of its tasks that run at once."""
    concurrency_per_key: int | None
    """Maximum number with the same ``concurrency_key`` that run at once."""
    rate: int | None
    """Maximum number that start within ``per``."""
    rate_per_key: int | None
    """Maximum number with the same ``concurrency_key`` that start within ``per``."""
    per: Duration
    """The window of a rate; a second when left out."""


class QueueOptions(TypedDict, total=False):
    """Settings of a queue; what is left out is not changed."""

    ordering: str
    """``fifo`` or ``lifo``."""
    ageing: Duration | None
    """A waiting row gains one priority for each such period; None turns ageing off."""
    retention: Age | Literal[0] | None
    """Completed and cancelled tasks older than this are deleted; ``"forever"`` keeps them; None uses the settings.

    With ``0`` a one-time task is deleted in the transaction that completes it, and only its history is kept.
    """
    retention_count: int | str | None
    """Number of completed and cancelled tasks that are kept; values as above."""
    dead_retention: Age | None
    """Like ``retention``, for dead tasks."""
    dead_retention_count: int | str | None
    """Like ``retention_count``, for dead tasks."""
    archive: bool | None
    """Whether deleted tasks are copied to ``pgsched.archived_tasks``; None uses the settings."""
    allow_short: bool
    """Allows ``retention`` and ``dead_retention`` to be shorter than an hour."""
    defaults: TaskOptions | None
    """Defaults for options of its tasks that neither they nor their handlers set; None for none."""


_LIMIT = whole(1, MAX_LIMIT_OF_QUEUE, rule=f"be a whole number between 1 and {MAX_LIMIT_OF_QUEUE}")
_SHORTEST = Interval(microseconds=100_000)
_RATES = ("rate", "rate_per_key")
_LIMITS: Final[Mapping[str, Check]] = {
    **dict.fromkeys(("concurrency", "concurrency_per_key", *_RATES), optional(_LIMIT)),
    "per": optional(duration(_SHORTEST, Interval(days=31), rule="be between 100 milliseconds and 31 days")),
}
_ordering = optional(one_of(*ORDERINGS))
_ageing = optional(duration(Interval(microseconds=1_000_000), rule="be between 1 second and 1000 years"))


def queues() -> Command[list[QueueInfo]]:
    """Read every queue, with counts: exact for few tasks, estimated for many."""
    return command("list_queues", rows_as(QueueInfo), entries=COUNTED, front=COUNTED_DUE)


def pause_queue(name: str, paused_by: str | None = None) -> Command[None]:
    """Pause a queue: nothing more is claimed from it."""
    by = optional(plain_text)("paused_by", paused_by)
    return command("pause_queue_claims", nothing, name=plain_text("queue", name), paused_by=by)


def resume_queue(name: str) -> Command[None]:
    """Resume a paused queue."""
    return command("resume_queue_claims", nothing, name=plain_text("queue", name))


def set_queue_events(name: str, events: bool) -> Command[None]:
    """Announce what happens to the tasks of a queue to other programs, or no longer do so."""
    return command("set_queue_events", nothing, name=plain_text("queue", name), events=events)


def get_queue(name: str) -> Command[QueueSettings]:
    """Read the settings of a queue."""
    return command("get_queue", row_as(QueueSettings), queue=checked("queue", name))


def lock_queue(name: str) -> Command[None]:
    """Keep others from changing the settings of a queue until the transaction ends."""
    return command("lock_queue", nothing, queue=checked("queue", name))


def limit_queue(name: str, limits: QueueLimits) -> Command[None]:
    """Replace the limits of a queue."""
    params = {"queue": plain_text("queue", name)}
    try:
        params |= {limit: check(limit, limits.get(limit)) for limit, check in _LIMITS.items()}
        if unknown := set(limits) - _LIMITS.keys():
            raise InvalidTask(f"{min(unknown)!r} is no limit")
        if params["per"] is not None and all(params[rate] is None for rate in _RATES):
            said = Described(f"{limits.get('per')!r} alone")
            raise InvalidTask("is the time of a rate: it needs rate or rate_per_key", field="per", value=said)
        if all(params[limit] is None for limit in _LIMITS):
            raise InvalidTask("give one at least; unlimit_queue takes them away")
    except InvalidTask as error:
        raise error.within(f"limits of queue {name!r}") from None
    return command("limit_queue", nothing, **params)


def unlimit_queue(name: str) -> Command[bool]:
    """Remove the limits of a queue; returns whether it had any."""
    return command("unlimit_queue", changed, queue=plain_text("queue", name))


def count_tasks(queue: str | None = None) -> Command[list[StatusCount]]:
    """Count the tasks in each status, in all queues or in one."""
    return command("count_by_status", rows_as(StatusCount), **choice(queue=queue))


def set_queue(name: str, options: QueueOptions) -> Command[None]:
    """Change settings of a queue."""
    known_options(f"queue {name!r}", options, {"ordering", "ageing", "allow_short", "defaults", *RETENTION})
    params = {
        "queue": plain_text("queue", name),
        "ordering": _ordering("ordering", options.get("ordering")),
        "ageing": _ageing("ageing", options.get("ageing")),
        **retention_of(options, leaving_age),
        "defaults": _defaults(name, options.get("defaults")),
        "given": list(options),
    }
    return command("set_queue", nothing, **params)


def set_defaults(name: str, columns: Mapping[str, Any]) -> Command[bool]:
    """Set a queue's defaults for its tasks, by column as in :class:`QueueSettings`; returns whether they changed."""
    return command("set_defaults", changed, queue=checked("queue", name), defaults=json.dumps(columns))


def _defaults(name: str, options: TaskOptions | None) -> str | None:
    try:
        if options is not None and "queue" in options:
            raise InvalidTask("is no default of a queue", field="queue")
        return json.dumps(default_columns(options)) if options else None
    except InvalidTask as error:
        raise error.within(f"defaults of queue {name!r}") from None
