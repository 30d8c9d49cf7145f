"""Commands about durable tasks. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from typing import Any, Final

from pgsched.db.queries.tasks import known_id, last_of, only_id
from pgsched.db.query import Command, command, nothing, rows_as, unprepared
from pgsched.domain.durable import MAX_NAME
from pgsched.domain.durable_records import DurableEvent, DurableRun, DurableStep
from pgsched.domain.records import read
from pgsched.domain.validation import RULES, json_value, optional, text_of

MAX_EVENT_KEY: Final = 500
"""Maximum length of the key of an event."""

_name = text_of(MAX_NAME)
_step_key = text_of(MAX_NAME)
_event_key = optional(text_of(MAX_EVENT_KEY))


def emit(
    id: int | None, name: str, payload: object = None, *, key: str | None = None, event_key: str | None = None
) -> Command[int]:
    """Send an event to a task, identified by its id or its key; returns the id of the event. Raises InvalidTask."""
    event: dict[str, Any] = {"name": _name("name", name)}
    if key is not None and id is None:
        event["task_key"] = RULES["idempotency_key"].check("key", key)
    else:
        event |= known_id(only_id(id, key))
    if payload is not None:
        event["payload"] = json_value("payload", payload)
    if event_key is not None:
        event["key"] = _event_key("event_key", event_key)
    sent = command("emit_event", lambda rows: int(rows[0]["id"]), tasks=json.dumps(event))
    return sent._replace(plain=True)


def restart(task_id: int, from_step: str | None = None, from_key: str = "") -> Command[None]:
    """Run a durable task from the start, or from a step on. Raises InvalidTask."""
    step = optional(_name)("from_step", from_step)
    key = from_key if from_key == "" else _step_key("from_key", from_key)
    return command("restart_task", nothing, **known_id(task_id), from_step=step, from_key=key)


def get_run(task_id: int) -> Command[DurableRun | None]:
    """Read the open run of a durable task; None when there is none."""
    return command("get_durable_run", lambda rows: read(DurableRun, rows[0]) if rows else None, **last_of(task_id))


def list_steps(task_id: int, *, all_runs: bool, limit: int) -> Command[list[DurableStep]]:
    """Read the records of the latest run of a durable task, or of all its runs."""
    return unprepared("list_durable_steps", rows_as(DurableStep), **last_of(task_id, limit), all_runs=all_runs)


def list_events(task_id: int, *, limit: int) -> Command[list[DurableEvent]]:
    """Read the last events sent to a durable task, in order."""
    return command("list_durable_events", rows_as(DurableEvent), **last_of(task_id, limit))
