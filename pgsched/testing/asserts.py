"""Lists scheduled tasks and asserts about them; failure messages list the tasks that exist.

Payloads are part of these messages: they are the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from pgsched.app.app import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db.async_enlist import run_on_async
from pgsched.db.enlist import run_on
from pgsched.db.queries.task_search import list_tasks
from pgsched.db.query import MAX_LIMIT
from pgsched.domain.records import Task

SHOWN: Final = 20
"""Maximum number of tasks in a message, the latest ones."""
WITHIN: Final = 1.0
"""Seconds by which ``at`` may differ."""

Source: TypeAlias = App | Client
AsyncSource: TypeAlias = App | AsyncClient


def scheduled(source: Source, task_type: str | None = None, *, connection: object = None, **columns: Any) -> list[Task]:
    """Return the tasks in the table, in the order in which they were scheduled, whatever their status is now.

    All, or those of a type and with these ``columns``: ``scheduled(client, "email", queue="mail", status="pending")``.
    A ``connection`` (psycopg's, or one that wraps it) includes those that its open transaction has scheduled. Raises
    TypeError for an unknown column.
    """
    client = source.client() if isinstance(source, App) else source
    command = list_tasks(task_type=task_type, limit=MAX_LIMIT)
    found = client.database.run(command) if connection is None else run_on(connection, command)
    return _chosen(found, columns)


async def scheduled_async(
    source: AsyncSource, task_type: str | None = None, *, connection: object = None, **columns: Any
) -> list[Task]:
    """Like :func:`scheduled`, on an event loop."""
    client = source.async_client() if isinstance(source, App) else source
    command = list_tasks(task_type=task_type, limit=MAX_LIMIT)
    found = await (client.database.run(command) if connection is None else run_on_async(connection, command))
    return _chosen(found, columns)


def assert_scheduled(
    source: Source,
    task_type: str,
    payload: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    within: float = WITHIN,
    count: int | None = None,
    connection: object = None,
    **columns: Any,
) -> list[Task]:
    """Assert that a task was scheduled, or exactly ``count`` tasks, and return them.

    ``payload`` is a part of their payloads: its keys must have equal values, also in nested objects. ``at`` is the time
    they are scheduled for, give or take ``within`` seconds; ``columns`` and ``connection`` as in :func:`scheduled`.
    Raises AssertionError, which lists what was scheduled instead.
    """
    found = scheduled(source, connection=connection)
    return _asserted(found, task_type, payload, at, within, count, columns)


async def assert_scheduled_async(
    source: AsyncSource,
    task_type: str,
    payload: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    within: float = WITHIN,
    count: int | None = None,
    connection: object = None,
    **columns: Any,
) -> list[Task]:
    """Like :func:`assert_scheduled`, on an event loop."""
    found = await scheduled_async(source, connection=connection)
    return _asserted(found, task_type, payload, at, within, count, columns)


def assert_not_scheduled(
    source: Source,
    task_type: str | None = None,
    payload: Mapping[str, Any] | None = None,
    *,
    connection: object = None,
    **columns: Any,
) -> None:
    """Assert that no such task was scheduled, or none at all; the arguments are those of :func:`assert_scheduled`."""
    _refuse(scheduled(source, connection=connection), task_type, payload, columns)


async def assert_not_scheduled_async(
    source: AsyncSource,
    task_type: str | None = None,
    payload: Mapping[str, Any] | None = None,
    *,
    connection: object = None,
    **columns: Any,
) -> None:
    """Like :func:`assert_not_scheduled`, on an event loop."""
    _refuse(await scheduled_async(source, connection=connection), task_type, payload, columns)


def _chosen(found: list[Task], columns: Mapping[str, Any]) -> list[Task]:
    if unknown := sorted(columns.keys() - Task.__dataclass_fields__.keys()):
        raise TypeError(f"{unknown[0]!r} is not a column of a task")
    ordered = sorted(found, key=lambda task: task.id)
    return [task for task in ordered if all(getattr(task, name) == value for name, value in columns.items())]


def _asserted(
    found: list[Task],
    task_type: str,
    payload: Mapping[str, Any] | None,
    at: datetime | None,
    within: float,
    count: int | None,
    columns: Mapping[str, Any],
) -> list[Task]:
    fitting = [
        task
        for task in _chosen(found, {"task_type": task_type, **columns})
        if contains(task.payload, payload or {}) and (at is None or _is_at(task, at, within))
    ]
    if len(fitting) == count or (count is None and fitting):
        return fitting
    wanted = _wanted(task_type, payload, {**({"at": at.isoformat()} if at else {}), **columns})
    much = "no task" if not fitting else f"{len(fitting)} task{'s' * (len(fitting) > 1)}"
    asked = "" if count is None else f", not {count}"
    raise AssertionError(f"{much}{asked}: {wanted}\n{_listed(found)}")


def _refuse(
    found: list[Task], task_type: str | None, payload: Mapping[str, Any] | None, columns: Mapping[str, Any]
) -> None:
    chosen = _chosen(found, {**({} if task_type is None else {"task_type": task_type}), **columns})
    fitting = [task for task in chosen if contains(task.payload, payload or {})]
    if fitting:
        wanted = _wanted(task_type, payload, columns)
        raise AssertionError(f"{len(fitting)} task{'s' * (len(fitting) > 1)}, not 0: {wanted}\n{_listed(fitting)}")


def contains(whole: Any, part: Any) -> bool:
    """Return whether a value contains another one; objects may have more keys."""
    if isinstance(part, Mapping) and isinstance(whole, Mapping):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    return bool(whole == part)


def _is_at(task: Task, at: datetime, within: float) -> bool:
    if at.utcoffset() is None:
        raise ValueError(f"at must have a time zone, got {at}")
    due = task.scheduled_for or task.next_run_at
    return due is not None and abs((due - at).total_seconds()) <= within


def _wanted(task_type: str | None, payload: Mapping[str, Any] | None, more: Mapping[str, Any]) -> str:
    words = [task_type or "of any type"]
    if payload:
        words.append(f"with payload {_json(payload)}")
    words += [f"{name}={value!r}" for name, value in more.items()]
    return " ".join(words)


def _listed(tasks: Sequence[Task]) -> str:
    if not tasks:
        return "nothing was scheduled"
    latest = sorted(tasks, key=lambda task: task.id)[-SHOWN:]
    head = "scheduled were:" if len(latest) == len(tasks) else f"the last {SHOWN} of {len(tasks)} that were scheduled:"
    return "\n".join([head, *(f"  {_line(task)}" for task in latest)])


def _line(task: Task) -> str:
    due = task.scheduled_for or task.next_run_at
    schedule = task.cron_expression or (f"every {task.repeat_interval.to_text()}" if task.repeat_interval else "")
    words = [
        str(task.id),
        task.task_type,
        task.status,
        f"queue={task.queue}",
        f"at={due.isoformat() if due else 'never'}",
        f"schedule={schedule}" if schedule else "",
        f"payload={_json(task.payload)}",
    ]
    return " ".join(word for word in words if word)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
