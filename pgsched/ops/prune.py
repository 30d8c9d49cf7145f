"""One run that deletes finished tasks and old history on request."""

from __future__ import annotations

import math
import threading
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any, TypedDict

from pgsched.db.query import Command
from pgsched.db.retention import RetentionStore
from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Pruned
from pgsched.domain.retention_age import Age, age_of, archives, count_of, long_enough
from pgsched.domain.validation import checked, flag, number, optional
from pgsched.ops.archive import Archive
from pgsched.ops.retention import Pruner, RetentionOverride


class PruneOptions(TypedDict, total=False):
    """Options of a run, which override the retention in the settings."""

    queue: str | None
    """Only tasks of this queue, and no history."""
    completed_older_than: Age | None
    """Completed and cancelled tasks that ended longer ago, overriding the settings."""
    completed_keep: int | None
    """All completed and cancelled tasks of a queue except this many of the latest."""
    dead_older_than: Age | None
    """Dead tasks that died longer ago, overriding the settings for dead tasks."""
    dead_keep: int | None
    """All dead tasks of a queue except this many of the latest."""
    history_older_than: Age | None
    """Days of the history that ended longer ago."""
    archive: bool | None
    """Copy tasks to ``pgsched.archived_tasks`` first; None: as configured in the settings."""
    archive_dir: str | PathLike[str] | None
    """A folder on this machine; tasks and history are written to files in it before they are deleted."""
    dry_run: bool
    """Only report what would be deleted."""
    allow_short: bool
    """Whether ages may be shorter than an hour."""
    max_seconds: float | None
    """Stop after this many seconds; the next run continues."""


PREVIEW_SECONDS = 3.0
"""Maximum time to count for a user who has to confirm the deletion."""
_AGES = ("completed_older_than", "dead_older_than", "history_older_than")
_NUMBERS = ("completed_keep", "dead_keep")
_some_seconds = number(math.ulp(0), math.inf, rule="be a number above 0")
_NAMES = frozenset(PruneOptions.__annotations__)


def preview(dsn: str, change: Command[None], *, seconds: float = PREVIEW_SECONDS) -> Pruned:
    """Return what a run would delete after a change of the settings, without making the change.

    Counts for at most this many seconds; ``complete`` is false when there may be more. Raises DatabaseUnavailable and
    PermissionRefused.
    """
    deadline = monotonic() + seconds
    store = RetentionStore(dsn)
    try:
        with store.transaction(undo=True):
            store.run(change)
            return Pruner(store=store, wait=lambda _pause: monotonic() >= deadline, dry_run=True).run()
    finally:
        store.close()


def prune(dsn: str, options: PruneOptions, stop: threading.Event | None = None) -> Pruned:
    """Run the deletion. Raises InvalidTask, DatabaseUnavailable, PermissionRefused, OSError of ``archive_dir``."""
    override, seconds = override_of(options), seconds_of(options)
    folder = options.get("archive_dir")
    dry_run = bool(options.get("dry_run"))
    stop = stop or threading.Event()
    deadline = None if seconds is None else monotonic() + seconds

    def wait(pause: float) -> bool:
        left = pause if deadline is None else min(pause, deadline - monotonic())
        return stop.wait(max(left, 0.0)) or (deadline is not None and monotonic() >= deadline)

    store = RetentionStore(dsn)
    try:
        return Pruner(
            store=store,
            wait=wait,
            override=override,
            archive=None if folder is None or dry_run else Archive(Path(folder)),
            dry_run=dry_run,
        ).run()
    finally:
        store.close()


def override_of(options: PruneOptions) -> RetentionOverride:
    """Return the options. Raises InvalidTask, naming option, rule and value."""
    unknown = set(options) - _NAMES
    if unknown:
        raise InvalidTask(f"prune: unknown option {min(unknown)!r}")
    queue = options.get("queue")
    if queue is not None:
        queue = checked("queue", queue)
        if options.get("history_older_than") is not None:
            rule = "applies to all queues: the history is dropped by days; leave queue out"
            raise InvalidTask(rule, field="history_older_than")
    archive = archives("archive", options.get("archive"))
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    allow_short = flag("allow_short", given.get("allow_short", False))
    ages = {
        name: long_enough(name, age_of(name, given[name]), allow_short=allow_short) for name in _AGES if name in given
    }
    numbers = {name: count_of(name, given.get(name)) for name in _NUMBERS}
    return RetentionOverride(queue=queue, archive=archive, **ages, **numbers)  # type: ignore[arg-type]


def seconds_of(options: PruneOptions) -> float | None:
    """Return the maximum duration of a run. Raises InvalidTask."""
    seconds: float | None = optional(_some_seconds)("max_seconds", options.get("max_seconds"))
    return seconds
