"""Commands about schedules and their calendars. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Final

from pgsched.db.queries import tasks as task_commands
from pgsched.db.queries.tasks import known_id
from pgsched.db.query import Command, Row, Rows, command, row_as, rows_as
from pgsched.domain.errors import CalendarNotFound, InvalidTask
from pgsched.domain.scheduled import BackfillTick, Scheduled, SkippedTick
from pgsched.domain.scheduling.calendars import Calendar, checked_days, checked_name
from pgsched.domain.task_spec import TaskSpec, json_values
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES, aware

_OPTIONS: Final = {rule.parameter: name for name, rule in RULES.items()}


def schedule_by_key(specs: Iterable[TaskSpec], rule: str) -> Command[list[Scheduled]]:
    """Insert tasks; ``rule`` decides for keys that are in use. Raises InvalidTask for a task without a key."""
    tasks = []
    for spec in specs:
        if spec.idempotency_key is None:
            problem = f"needs an idempotency_key, and a task {spec.task_type!r} has none"
            raise InvalidTask(problem, field="idempotency_key", subject=f'on_conflict="{rule}"')
        tasks.append(json_values(spec.arguments()))
    return command(
        "schedule_by_key", lambda rows: [_scheduled(row) for row in rows], tasks=json.dumps(tasks), on_conflict=rule
    )


def schedule_unique(specs: Iterable[TaskSpec], unique: Unique, rule: str) -> Command[list[Scheduled]]:
    """Insert tasks; ``unique`` and ``rule`` decide for those that an existing task blocks."""
    if unique.debounce is not None and rule in ("replace", "raise"):
        raise InvalidTask(f'excludes on_conflict="{rule}"', field="debounce")
    tasks = json.dumps([json_values(spec.arguments()) for spec in specs])
    params = {"tasks": tasks, "on_conflict": rule, **unique.parameters()}
    return command("schedule_unique", lambda rows: [_scheduled(row) for row in rows], **params)


def schedule(spec: TaskSpec, rule: str = "return", unique: Unique | None = None) -> Command[Scheduled]:
    """Insert a task; ``rule`` decides when its key is in use. Returns the outcome."""
    if unique is not None:
        alike = schedule_unique([spec], unique, rule)
        return Command(alike.statement, alike.params, lambda rows: alike.parse(rows)[0])
    if spec.idempotency_key is None and rule == "return":
        one = task_commands.schedule(spec)
        return Command(one.statement, one.params, lambda rows: Scheduled(one.parse(rows), "created"), task=one.task)
    many = schedule_by_key([spec], rule)
    plain = spec.arguments() if rule == "return" else None  # what other drivers call returns existing tasks
    return Command(many.statement, many.params, lambda rows: many.parse(rows)[0], task=plain)


def _scheduled(row: Row) -> Scheduled:
    """Drivers other than psycopg return only the id."""
    differs = sorted(_OPTIONS.get(name, name) for name in (row.get("differs") or "").split(",") if name)
    return Scheduled(int(row["id"]), row.get("outcome"), differs=differs)


def backfill(
    task_id: int, since: datetime, until: datetime, *, max_ticks: int, dry_run: bool
) -> Command[list[BackfillTick]]:
    """Run the ticks of a schedule in a past range, or only list them. Raises InvalidTask for a time without a zone."""
    span = {"since": aware("since", since), "until": aware("until", until)}
    params = {**known_id(task_id), **span, "max_ticks": max_ticks, "dry_run": dry_run}
    return command("backfill_schedule", rows_as(BackfillTick), **params)


def skip_next(task_id: int) -> Command[SkippedTick]:
    """Skip the next scheduled tick. Raises TaskNotFound, and TransitionRefused when there is none."""
    return command("skip_tick", row_as(SkippedTick), **known_id(task_id))


def replan(task_id: int) -> Command[datetime | None]:
    """Compute the next tick of a schedule anew; returns when it is due."""
    return command("replan_task", lambda rows: rows[0]["due"], **known_id(task_id))


def replan_all() -> Command[int]:
    """Compute the next ticks of all schedules anew; returns their number."""
    return command("replan_tasks", lambda rows: int(rows[0]["planned"]))


# Calendars.


def list_calendars(name: str | None = None) -> Command[list[Calendar]]:
    """Read every calendar, or the one with this name, with the number of schedules that use it."""
    return command("list_calendars", rows_as(Calendar), name=None if name is None else checked_name(name))


def lock_calendar(name: str) -> Command[None]:
    """Keep others from changing a calendar until the transaction ends."""
    return command("lock_calendar", lambda _rows: None, name=checked_name(name))


def find_days(names: Iterable[str]) -> Command[dict[str, list[str]]]:
    """Read the dates of calendars; unknown ones are left out."""
    return command("find_days", lambda rows: {row["name"]: row["days"] for row in rows}, names=sorted(names))


def set_calendar(name: str, days: Iterable[str | date]) -> Command[str]:
    """Create a calendar, or replace its dates; returns ``created`` or ``replaced``."""
    params = {"name": checked_name(name), "days": checked_days(name, days)}
    return command("set_calendar", lambda rows: str(rows[0]["outcome"]), **params)


def delete_calendar(name: str) -> Command[None]:
    """Delete a calendar. Raises CalendarNotFound; the database refuses while a cron expression uses it."""

    def parse(rows: Rows) -> None:
        if not rows[0]["changed"]:
            raise CalendarNotFound(f"calendar {name} does not exist")

    return command("delete_calendar", parse, name=checked_name(name))
