"""What a worker with tracing asks: the traces that its tasks are part of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pgsched.db.session import Sessions
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.completions import Command
from pgsched.domain.attempt import Claimed


class Origin(NamedTuple):
    """Where a task comes from."""

    carrier: Mapping[str, str]
    """Its creation context; empty when there is none."""
    is_tick: bool
    """It is a tick of a schedule, or was made for one."""
    earlier: str | None
    """The ``traceparent`` of the last failed attempt at the same tick."""


async def find_traces(sessions: Sessions, ids: Sequence[int]) -> dict[int, Origin]:
    """Return where these tasks come from; one that was deleted is missing. Raises DatabaseUnavailable."""
    (rows,) = await sessions.fetch([(load_statement("find_traces"), {"ids": list(ids)})])
    found = {}
    for task_id, traceparent, tracestate, baggage, is_tick, earlier in rows:
        told = {"traceparent": traceparent, "tracestate": tracestate, "baggage": baggage}
        found[task_id] = Origin({name: value for name, value in told.items() if value}, is_tick, earlier)
    return found


def trace_steps(task: Claimed, carrier: Mapping[str, str]) -> Command:
    """Return the command that lets the children of a group carry a context."""
    return load_statement("trace_steps"), {"id": task.id, "carrier": json.dumps(dict(carrier))}
