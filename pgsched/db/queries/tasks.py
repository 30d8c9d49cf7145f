"""Commands about tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from pgsched.db.query import (
    MAX_LIMIT,
    Command,
    Row,
    Rows,
    T,
    changed,
    choice,
    command,
    nothing,
    pages_of,
    rows_as,
    unprepared,
    value,
)
from pgsched.domain.errors import Described, InvalidTask, TaskNotFound, TransitionRefused, VersionConflict
from pgsched.domain.pages import PagedList, place_of, read_cursor, write_cursor
from pgsched.domain.records import Execution, LogEntry, MissedTicks, Task, read
from pgsched.domain.silence import Alert
from pgsched.domain.task_spec import TaskOptions, TaskSpec, changed_columns
from pgsched.domain.task_status import Stand
from pgsched.domain.task_tree import MAX_NODES, TaskNode, tree_of
from pgsched.domain.validation import (
    MAX_BIGINT,
    RULES,
    Duration,
    aware,
    checked,
    duration,
    one_of,
    optional,
    text,
    whole,
)
from pgsched.domain.wait import Waiting

MAX_ALERTS = 10_001


# Scheduling.


def schedule(spec: TaskSpec) -> Command[int]:
    """Insert a task and return its id, or that of the task with the same idempotency key."""
    return command("schedule_task", _id, **spec.parameters())._replace(task=spec.arguments())


# One task.


def add_steps(group_id: int, steps: list[dict[str, Any]]) -> Command[list[int]]:
    """Add steps to a running group; returns their ids."""
    return command("add_steps", value("ids"), **known_id(group_id), steps=json.dumps(steps))


def find_id(key: str) -> Command[int]:
    """Read the id of the task with an idempotency key. Raises TaskNotFound, naming the key."""
    return command("find_task_id", _id, key=RULES["idempotency_key"].check("key", key))


def only_id(id: int | None, key: str | None) -> int:
    """Return the id when no key is given. Raises InvalidTask when neither or both identify the task."""
    if id is None or key is not None:
        given = Described("neither" if id is None else "both")
        raise InvalidTask("must be named by its id or by its key", field="key", subject="a task", value=given)
    return id


def get(task_id: int) -> Command[Task]:
    """Read one task. Raises TaskNotFound."""
    return command("get_task", _existing(task_id, lambda row: read(Task, row)), **known_id(task_id))


def tree(task_id: int) -> Command[TaskNode]:
    """Read a task with its steps, its dependencies and its dependents. Raises TaskNotFound."""

    def parse(rows: Rows) -> TaskNode:
        found = tree_of(task_id, rows)
        if found is None:
            raise _no_task(task_id)
        return found

    return command("show_tree", parse, **known_id(task_id), limit=MAX_NODES + 1)


def get_version(task_id: int) -> Command[str]:
    """Read the version of a task, which edits compare. Raises TaskNotFound."""
    return command("get_task_version", _existing(task_id, lambda row: str(row["version"])), **known_id(task_id))


def expect_version(task_id: int, version: str) -> Command[None]:
    """Keep others from editing a task until the transaction ends. Raises TaskNotFound, and VersionConflict."""

    def parse(row: Row) -> None:
        _check_version(task_id, row["version"], version)

    return command("lock_task_version", _existing(task_id, parse), **known_id(task_id))


def update(
    task_id: int, payload: Mapping[str, Any] | None, options: TaskOptions, *, if_version: str | None = None
) -> Command[None]:
    """Change the given options of a task.

    Raises TaskNotFound, VersionConflict when its version differs from the given one, and TransitionRefused for a time
    of a schedule, and for a cancelled schedule.
    """
    columns, delay = changed_columns(payload, options)

    def parse(row: Row) -> None:
        _check_version(task_id, row["version"], if_version)
        if not row["changed"]:
            raise TransitionRefused(
                f"task {task_id} is cancelled: its schedule cannot be changed before it is retried"
                if row["status"] == "cancelled"
                else f"task {task_id} is {row['schedule_type']}: at and delay are for one-time tasks"
            )

    params = {
        **known_id(task_id),
        "changes": json.dumps(columns),
        "delay": delay,
        "moves": delay is not None or "scheduled_for" in columns,
        "version": _version("if_version", if_version),
    }
    return unprepared("update_task", _existing(task_id, parse), **params)


def watch(waiting: Waiting) -> Command[bool]:
    """Poll the state of a task that somebody waits for; returns whether the wait is over. Raises TaskNotFound."""
    params = {**known_id(waiting.task_id), "token": waiting.token, "since": waiting.since}
    return command("watch_task", lambda rows: waiting.is_over(rows[0] if rows else None), **params)


def run_now(task_id: int, *, run_by: str | None) -> Command[int]:
    """Make a task due now, or a copy of it that records who asked; returns the id that runs."""
    return command("run_task_now", value("id"), **known_id(task_id), run_by=optional(text)("run_by", run_by))


def enable(task_id: int, *, catch_up: bool) -> Command[bool]:
    """Enable a paused task; returns whether it was paused."""
    return command("enable_task", changed, **known_id(task_id), catch_up=catch_up)


def disable(task_id: int) -> Command[bool]:
    """Pause a task; returns whether it was active."""
    return command("disable_task", changed, **known_id(task_id))


def cancel(task_id: int) -> Command[None]:
    """Cancel a task."""
    return command("cancel_task", nothing, **known_id(task_id))


def retry(task_id: int, payload: Mapping[str, Any] | None = None) -> Command[None]:
    """Give a task all its attempts again, optionally with another payload. Raises InvalidTask."""
    text = None if payload is None else checked("payload", payload)
    return command("retry_task", nothing, **known_id(task_id), payload=text)


def stand(task_id: int) -> Command[Stand]:
    """Read the state of a task that its row does not contain. Raises TaskNotFound."""
    return command("stand_task", _existing(task_id, lambda row: read(Stand, row)), **known_id(task_id))


def delete(task_id: int, *, if_version: str | None = None) -> Command[None]:
    """Delete a task. Raises TaskNotFound, VersionConflict like an update, and TransitionRefused while it runs."""

    def parse(row: Row) -> None:
        if row["deleted"]:
            return
        _check_version(task_id, row["version"], if_version)
        if if_version is not None and not row["running"]:  # it was edited while the statement waited for it
            raise VersionConflict(f"task {task_id}", version="another one", expected=if_version)
        raise TransitionRefused(f"task {task_id} is running and cannot be deleted: cancel it first")

    params = {**known_id(task_id), "version": _version("if_version", if_version)}
    return command("delete_task", _existing(task_id, parse), **params)


def executions(
    task_id: int, *, limit: int, before: tuple[int, datetime] | None = None, cursor: str | None = None
) -> Command[PagedList[Execution]]:
    """Read the last attempts at a task, the latest first."""
    token, started_at = place_of("executions", cursor, "before", before, int, datetime) or (None, None)
    before_token, before_started_at = optional(_id_of)("before", token), optional(aware)("before", started_at)
    params = {"before_token": before_token, "before_started_at": before_started_at}
    parse = pages_of(Execution, "executions", limit, "fencing_token", "started_at")
    return command("list_executions", parse, **last_of(task_id, limit), **params)


def missed_ticks(task_id: int, *, limit: int) -> Command[list[MissedTicks]]:
    """Read the ticks of a schedule that were not run, the latest first."""
    return command("list_missed_ticks", rows_as(MissedTicks), **last_of(task_id, limit))


def logs(
    task_id: int, *, limit: int, level: str | None = None, cursor: str | None = None
) -> Command[PagedList[LogEntry]]:
    """Read a page of the lines that a task logged, in order, the last page first.

    Lines have no numbers: a page is identified by the time of its first line, and its number of lines of that time.
    Raises InvalidTask.
    """
    least = optional(one_of(*LEVELS))("level", level)
    token, at, shown = read_cursor("logs", cursor, int, datetime, int) or (None, None, 0)

    def parse(rows: Rows) -> PagedList[LogEntry]:
        found = [read(LogEntry, row) for row in rows]
        if len(found) < limit:
            return PagedList(found, None)
        first = (found[0].fencing_token, found[0].logged_at)
        alike = sum((one.fencing_token, one.logged_at) == first for one in found)
        return PagedList(found, write_cursor("logs", *first, alike + (shown if first == (token, at) else 0)))

    return unprepared(
        "list_logs",
        parse,
        **last_of(task_id, limit),
        levels=None if least is None else list(LEVELS[LEVELS.index(least) :]),
        token=token,
        at=at,
        shown=shown,
    )


LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""The levels of log lines, in ascending order."""


def list_alerts(task_id: int | None = None) -> Command[list[Alert]]:
    """Read which tasks, or whether one task, had no success or runs for longer than their alerts allow."""
    return unprepared("list_alerts", rows_as(Alert), task_id=task_id, cap=MAX_ALERTS)


# Many tasks.


def upcoming(
    within: Duration, *, queue: str | None, limit: int, after: tuple[datetime, int] | None, cursor: str | None = None
) -> Command[PagedList[Task]]:
    """Read a page of what will run within a period from now, the earliest first."""
    time, task_id = place_of("upcoming", cursor, "after", after, datetime, int) or (None, None)
    params = {
        "within": _within("within", within),
        **choice(queue=queue),
        "limit": _limit("limit", limit),
        "after_time": optional(aware)("after", time),
        "after_id": optional(_id_of)("after", task_id),
    }
    return unprepared("list_upcoming", pages_of(Task, "upcoming", limit, "next_run_at", "id"), **params)


def _existing(task_id: int, parse: Callable[[Row], T]) -> Callable[[Rows], T]:
    """Read the only row, which exists if the task does; raises TaskNotFound."""

    def parse_rows(rows: Rows) -> T:
        if not rows:
            raise _no_task(task_id)
        return parse(rows[0])

    return parse_rows


def _id(rows: Rows) -> int:
    return int(rows[0]["id"])  # whatever the adapters of a caller's connection turn a number into


# Validation.


def _no_task(task_id: int) -> TaskNotFound:
    return TaskNotFound(f"task {task_id} does not exist")


def known_id(task_id: int) -> dict[str, int]:
    """Return the parameter of a statement about one task. Raises TaskNotFound for an id that no task can have."""
    if abs(_whole("id", task_id)) > MAX_BIGINT:
        raise _no_task(task_id)
    return {"id": task_id}


def last_of(task_id: int, limit: int | None = None) -> dict[str, int]:
    """Return the parameters of a statement that reads the last records of a task."""
    params = {"task_id": _id_of("task_id", task_id)}
    return params if limit is None else params | {"limit": _limit("limit", limit)}


def _check_version(task_id: int, version: str, expected: str | None) -> None:
    if expected is not None and version != expected:
        raise VersionConflict(f"task {task_id}", version=version, expected=expected)


_whole = whole(-math.inf, math.inf)
_version = optional(text)
_id_of = whole(-MAX_BIGINT, MAX_BIGINT, rule="be the id of a task")
_limit = whole(1, MAX_LIMIT)
_within = duration()
