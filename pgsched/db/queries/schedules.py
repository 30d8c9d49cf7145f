"""What a client asks of the database about schedules and their calendars. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime

from pgsched.db.queries.tasks import known_id
from pgsched.db.query import Command, Rows, command, row_as, rows_as
from pgsched.domain.errors import CalendarNotFound, InvalidTask
from pgsched.domain.scheduled import BackfillTick, Scheduled, SkippedTick
from pgsched.domain.scheduling.calendars import Calendar, checked_days, checked_name
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
    return command(
        "upsert_tasks", lambda rows: [Scheduled(row["id"], row["outcome"]) for row in rows], tasks=json.dumps(tasks)
    )


def backfill(
    task_id: int, since: datetime, until: datetime, *, max_ticks: int, dry_run: bool
) -> Command[list[BackfillTick]]:
    """Run the ticks of a schedule in a past range, or only tell which. Raises InvalidTask for a time without a zone."""
    span = {"since": aware("since", since), "until": aware("until", until)}
    params = {**known_id(task_id), **span, "max_ticks": max_ticks, "dry_run": dry_run}
    return command("backfill_schedule", rows_as(BackfillTick), **params)


def skip_next(task_id: int) -> Command[SkippedTick]:
    """Skip the booked tick of a schedule. Raises TaskNotFound, and TransitionRefused where none is booked."""
    return command("skip_tick", row_as(SkippedTick), **known_id(task_id))


def replan(task_id: int) -> Command[datetime | None]:
    """Book a schedule afresh; returns when it is due."""
    return command("replan_task", lambda rows: rows[0]["due"], **known_id(task_id))


def replan_all() -> Command[int]:
    """Book all schedules afresh; returns how many."""
    return command("replan_tasks", lambda rows: int(rows[0]["planned"]))


# Calendars.


def list_calendars(name: str | None = None) -> Command[list[Calendar]]:
    """Read every calendar, or the one of this name, with how many schedules name it."""
    return command("list_calendars", rows_as(Calendar), name=None if name is None else checked_name(name))


def find_days(names: Iterable[str]) -> Command[dict[str, list[str]]]:
    """Read the days of calendars; those that are not there are left out."""
    return command("find_days", lambda rows: {row["name"]: row["days"] for row in rows}, names=sorted(names))


def set_calendar(name: str, days: Iterable[str | date]) -> Command[str]:
    """Make a calendar, or replace its days; says which: ``created`` or ``replaced``."""
    params = {"name": checked_name(name), "days": checked_days(name, days)}
    return command("set_calendar", lambda rows: str(rows[0]["outcome"]), **params)


def delete_calendar(name: str) -> Command[None]:
    """Delete a calendar. Raises CalendarNotFound; the database refuses while a cron expression names it."""

    def parse(rows: Rows) -> None:
        if not rows[0]["changed"]:
            raise CalendarNotFound(f"calendar {name} does not exist")

    return command("delete_calendar", parse, name=checked_name(name))
