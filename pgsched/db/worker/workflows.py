"""A worker's statements about related tasks: results of dependencies, groups and traces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from pgsched.db.session import Sessions
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.completions import Command, insert_missed
from pgsched.domain.attempt import Claimed, Finish, Missed


class Joined(NamedTuple):
    """The results of a group's children."""

    ok: bool
    result: str | None
    """JSON text."""
    error: str | None
    seconds: float
    """Since the group created them."""


class Origin(NamedTuple):
    """The origin of a task."""

    carrier: Mapping[str, str]
    """Its creation context; empty when there is none."""
    is_tick: bool
    """Whether it is a tick of a schedule, or was created for one."""
    earlier: str | None
    """The ``traceparent`` of the last failed attempt at the same tick."""


async def find_results(sessions: Sessions, task_id: int, ids: Sequence[int]) -> list[tuple[int, str | None, Any]]:
    """Return id, name and result of a task's dependencies, in their order; a deleted one is missing."""
    (rows,) = await sessions.fetch([(load_statement("find_results"), {"task_id": task_id, "ids": list(ids)})])
    return [(row[0], row[1], row[2]) for row in rows]


async def fire_group(
    sessions: Sessions, worker: UUID, task: Claimed, missed: Sequence[Missed], *, then: Command | None = None
) -> int | None:
    """Create the children of a group's tick, and record the ticks that it stands for; None when the claim was lost.

    ``then`` is one more command of the transaction.
    """
    claim = {"id": task.id, "token": task.fencing_token, "worker": worker}
    commands: list[Command] = []
    if task.schedule_type != "one_time":
        commands.append((load_statement("move_group_tick"), {**claim, "tick": task.scheduled_for}))
    if missed:
        finish = Finish(task.id, task.fencing_token, "blocked", revision=task.revision)
        commands.append(insert_missed(worker, [(finish, one) for one in missed]))
    commands.append((load_statement("fire_group"), claim))
    fired = len(commands) - 1
    if then is not None:
        commands.append(then)
    ((children,),) = (await sessions.fetch(commands))[fired]
    return None if children is None else int(children)


async def join_group(sessions: Sessions, worker: UUID, task: Claimed) -> Joined | None:
    """Return the results of a group's children, all of which have ended; None when the claim was lost."""
    claim = {"id": task.id, "token": task.fencing_token, "worker": worker}
    (rows,) = await sessions.fetch([(load_statement("join_group"), claim)])
    return Joined(*rows[0]) if rows else None


async def find_traces(sessions: Sessions, ids: Sequence[int]) -> dict[int, Origin]:
    """Return the origins of these tasks; a deleted one is missing. Raises DatabaseUnavailable."""
    (rows,) = await sessions.fetch([(load_statement("find_traces"), {"ids": list(ids)})])
    found = {}
    for task_id, traceparent, tracestate, baggage, is_tick, earlier in rows:
        told = {"traceparent": traceparent, "tracestate": tracestate, "baggage": baggage}
        found[task_id] = Origin({name: value for name, value in told.items() if value}, is_tick, earlier)
    return found


def trace_steps(task: Claimed, carrier: Mapping[str, str]) -> Command:
    """Return the command that gives the children of a group a tracing context."""
    return load_statement("trace_steps"), {"id": task.id, "carrier": json.dumps(dict(carrier))}
