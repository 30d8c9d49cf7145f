"""What a client asks of the database about schedules. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from pgsched.db.queries.tasks import known_id
from pgsched.db.query import Command, row_as, rows_as
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidTask
from pgsched.domain.scheduled import BackfillTick, Scheduled, SkippedTick
from pgsched.domain.task_spec import TaskSpec, json_values
from pgsched.domain.validation import aware


def upsert(specs: Iterable[TaskSpec]) -> Command[list[Scheduled]]:
    """Insert tasks, or change those that have their keys to what is given. Raises InvalidTask for one without a key."""
    tasks = []
    for spec in specs:
        if spec.idempotency_key is None:
            rule = f"needs an idempotency_key, and a task {spec.task_type!r} has none"
            raise InvalidTask(rule, field="idempotency_key", subject='on_conflict="update"')
        tasks.append(json_values(spec.arguments()))
    return Command(
        load_statement("upsert_tasks"),
        {"tasks": json.dumps(tasks)},
        lambda rows: [Scheduled(row["id"], row["outcome"]) for row in rows],
    )


def backfill(
    task_id: int, since: datetime, until: datetime, *, max_ticks: int, dry_run: bool
) -> Command[list[BackfillTick]]:
    """Run the ticks of a schedule in a past range, or only tell which. Raises InvalidTask for a time without a zone."""
    span = {"since": aware("since", since), "until": aware("until", until)}
    params = {**known_id(task_id), **span, "max_ticks": max_ticks, "dry_run": dry_run}
    return Command(load_statement("backfill_schedule"), params, rows_as(BackfillTick))


def skip_next(task_id: int) -> Command[SkippedTick]:
    """Skip the booked tick of a schedule. Raises TaskNotFound, and TransitionRefused where none is booked."""
    return Command(load_statement("skip_tick"), known_id(task_id), row_as(SkippedTick))


def replan(task_id: int) -> Command[datetime | None]:
    """Book a schedule afresh; returns when it is due."""
    return Command(load_statement("replan_task"), known_id(task_id), lambda rows: rows[0]["due"])


def replan_all() -> Command[int]:
    """Book all schedules afresh; returns how many."""
    return Command(load_statement("replan_tasks"), {}, lambda rows: int(rows[0]["planned"]))
