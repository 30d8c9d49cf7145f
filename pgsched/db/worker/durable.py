"""A worker's statements about durable runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pgsched.db.session import Rows, Session
from pgsched.db.sql_files import load_statement
from pgsched.domain.attempt import Finish
from pgsched.domain.durable import MAILBOX, Ended, Event, Name, Record, Run, RunId, Step

Command = tuple[Any, dict[str, Any]]

SEPARATOR = "\x1f"
"""Separates the parts of a list that is sent as one text."""


def load_commands(ids: Sequence[int]) -> list[Command]:
    """Return the statements that read the runs of some tasks."""
    given = {"ids": list(ids), "most": MAILBOX}
    return [(load_statement(name), given) for name in ("load_runs", "load_mailboxes", "load_children")]


def read_runs(answers: Sequence[Rows]) -> dict[int, Run]:
    """Return the runs by the ids of their tasks, without their mailboxes."""
    rows, children = answers
    found: dict[int, tuple[int, datetime, str | None]] = {}
    steps: dict[int, list[Step]] = {}
    for task_id, tick, began_at, version, *recorded in rows:
        found[task_id] = (tick, began_at, version)
        if recorded[0] is not None:  # its name
            steps.setdefault(task_id, []).append(Step(*recorded))
    ended: dict[int, dict[int, Ended]] = {}
    for task_id, child_id, status, result, error in children:
        ended.setdefault(task_id, {})[child_id] = Ended(status, result, error)
    return {
        task_id: Run(*whole, tuple(steps.get(task_id, ())), children=ended.get(task_id, {}))
        for task_id, whole in found.items()
    }


def read_mailboxes(rows: Rows) -> dict[tuple[int, int], list[Event]]:
    """Return the events that no wait has consumed, by the task's id and the number of the tick."""
    found: dict[tuple[int, int], list[Event]] = {}
    for task_id, tick, event_id, name, payload in rows:
        found.setdefault((task_id, tick), []).append(Event(event_id, name, payload))
    return found


def record_steps(worker: UUID, records: Sequence[Record]) -> Command:
    """Return the statement that records steps; it returns the indexes of those that it has recorded."""
    runs, steps = [one.run for one in records], [one.step for one in records]
    return load_statement("record_steps"), {
        "worker": worker,
        "ids": [run.task_id for run in runs],
        "tokens": [run.fencing_token for run in runs],
        "begun": [run.began_at for run in runs],
        "ticks": [run.tick_number for run in runs],
        "versions": [run.code_version for run in runs],
        "names": [step.name for step in steps],
        "keys": [step.key for step in steps],
        "kinds": [step.kind for step in steps],
        "statuses": [step.status for step in steps],
        "attempts": [step.attempts for step in steps],
        "results": [step.result for step in steps],
        "errors": [step.error for step in steps],
        "events": [one.event_id for one in records],
        "wakes": [step.wakes_at for step in steps],
        "started": [step.started_at or one.run.began_at for step, one in zip(steps, records, strict=True)],
        "finished": [one.finished_at for one in records],
    }


async def write_records(session: Session, worker: UUID, records: Sequence[Record]) -> set[int]:
    """Record steps in one transaction; returns the indexes of those whose claims still hold."""
    statement, given = record_steps(worker, records)
    return {row[0] for row in await session.fetch(statement, **given)}


def start_child(worker: UUID, run: RunId, name: Name, task: Mapping[str, Any], *, cancels: bool) -> Command:
    """Return the statement that creates a child and records it; it returns the child's id."""
    step = {
        "name": name[0],
        "key": name[1],
        "began_at": run.began_at.isoformat(),
        "tick_number": run.tick_number,
        "code_version": run.code_version,
        "cancels_child": cancels,
    }
    given = {"worker": worker, "id": run.task_id, "token": run.fencing_token}
    return load_statement("start_child"), {**given, "step": json.dumps(step), "task": json.dumps(task)}


def suspend_commands(worker: UUID, finishes: Sequence[Finish], now: float) -> tuple[list[Command], list[Command]]:
    """Return the statements that suspend runs: the waiting steps first, the search for new events afterwards.

    The one that suspends is the first of the second list, and returns how many passed the fence.
    """
    given = [(finish, finish.suspension) for finish in finishes if finish.suspension is not None]
    records = [record for _, suspension in given for record in suspension.records]
    before = [record_steps(worker, records)] if records else []
    suspend = {
        "worker": worker,
        "ids": [finish.id for finish, _ in given],
        "tokens": [finish.fencing_token for finish, _ in given],
        "statuses": [finish.next_status for finish, _ in given],
        "awaits": [SEPARATOR.join(suspension.awaits) for _, suspension in given],
        "wakes": [suspension.wakes_at for _, suspension in given],
        "payloads": [suspension.payload for _, suspension in given],
        "unasked": [SEPARATOR.join(suspension.unasked) for _, suspension in given],
        "started_ago": [now - finish.started for finish, _ in given],
    }
    waiting = [finish.id for finish, suspension in given if suspension.awaits]
    behind: list[Command] = [(load_statement("suspend_runs"), suspend)]
    if waiting:
        behind.append((load_statement("recheck_runs"), {"ids": waiting}))
    return before, behind


def end_runs(finishes: Sequence[Finish]) -> Command | None:
    """Return the statement that ends the runs whose tick these finishes end; None when there is none."""
    ends = ("completed", "cancelled")
    over = [one for one in finishes if one.durable_tick and (one.counted or one.next_status in ends)]
    if not over:
        return None
    return load_statement("end_runs"), {
        "ids": [one.id for one in over],
        "tokens": [one.fencing_token for one in over],
        "ticks": [one.durable_tick for one in over],
        "dead_lettered": [one.dead_lettered for one in over],
    }


async def wake_suspended(session: Session, most: int) -> tuple[int, float | None]:
    """Make suspended runs due whose wait has timed out; returns how many, and in how many seconds the next one does."""
    ((number, next_in),) = await session.fetch(load_statement("wake_suspended"), most=most)
    return number, next_in
