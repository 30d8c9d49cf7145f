"""``pgsched task``: adds, lists, shows and changes tasks."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import (
    MAX_ID,
    confirm,
    cursor_option,
    instant,
    json_option,
    limit_option,
    queue_option,
    read_json_object,
    read_moment,
    yes_option,
)
from pgsched.cli.output import Columns, cell, count, fields, plain, say, say_json, say_records, say_table, span
from pgsched.cli.session import lists, pass_client
from pgsched.cli.task_add import add, edit
from pgsched.cli.task_bulk import bulk
from pgsched.cli.task_durable import durable_of, emit, restart, say_durable, wait_in_words
from pgsched.cli.task_export import export
from pgsched.cli.task_filters import filter_options, filters_of
from pgsched.cli.task_name import Name, id_of, task_argument, tasks_argument
from pgsched.cli.task_payloads import edit_payloads
from pgsched.cli.task_tree import tree
from pgsched.db.queries.task_search import MAX_FOUND
from pgsched.domain.errors import InvalidTask, PgschedError, TaskNotFound, TransitionRefused
from pgsched.domain.pages import PagedList, place_of
from pgsched.domain.records import Task
from pgsched.domain.scheduling.preview import MAX_TICKS, explain, schedule_of, ticks_of

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.task_status import TaskStatus


def _schedule(one: Task) -> str:
    if one.cron_expression is not None:
        zone = "" if one.timezone == "UTC" else f" {one.timezone}"
        return f"cron {one.cron_expression}{zone}"
    if one.repeat_interval is not None:
        times = "" if one.repeat_count is None else f", {count(one.repeat_count, 'time')}"
        return f"every {cell(one.repeat_interval)}{times}"
    return "once"


COLUMNS: Columns = {
    "ID": "id",
    "TYPE": "task_type",
    "QUEUE": "queue",
    "PRIORITY": "priority",
    "STATUS": lambda one: one.status if one.enabled else f"{one.status}, disabled",
    "SCHEDULE": _schedule,
    "NEXT RUN": "next_run_at",
    "ATTEMPTS": lambda one: f"{one.attempts}/{one.max_attempts}",
}
UPCOMING: Columns = {
    "NEXT RUN": "next_run_at",
    "ID": "id",
    "TYPE": "task_type",
    "NAME": "task_name",
    "QUEUE": "queue",
    "SCHEDULE": _schedule,
}
EXECUTIONS: Columns = {
    "ATTEMPT": lambda one: one.attempt or "uncounted",
    "STATUS": "status",
    "STARTED": "started_at",
    "DURATION": lambda one: None if one.duration_ms is None else span(one.duration_ms / 1000),
    "WORKER": "who",
    "ERROR": "error",
}
BY_HAND: Columns = {"RUN BY": "run_by", "AS TASK": lambda one: None if one.run_by is None else one.task_id}
MISSED: Columns = {"NOT RUN": "reason", "TICKS": "ticks", "FROM": "first_tick", "INSTEAD": "next_tick"}
LOGS: Columns = {
    "LOGGED": "logged_at",
    "ATTEMPT": "attempt",
    "LEVEL": "level",
    "MESSAGE": "message",
    "FIELDS": "fields",
}


@click.group()
def task() -> None:
    """Add, list, show and change tasks."""


for command in (add, bulk, edit, edit_payloads, emit, export, restart, tree):
    task.add_command(command)


@task.command("list")
@filter_options
@limit_option(50)
@click.option("--before-id", type=click.IntRange(1, MAX_ID), help="The next page: only with a smaller id.")
@cursor_option
@lists(COLUMNS, empty="no tasks")
def list_(client: Client, /, limit: int, before_id: int | None, cursor: str | None, **given: Any) -> list[Task]:
    """List tasks that match all filters, the latest first."""
    filters, found = filters_of(given), PagedList[Task]()
    before = place_of("tasks", cursor, "before_id", before_id, int)
    while True:
        page = client.find_tasks(limit=min(limit - len(found), MAX_FOUND), before_id=before, **filters)
        found += page.tasks
        before, found.next_cursor = page.next_before, page.next_cursor
        if before is None or len(found) == limit:
            return found


@task.command()
@click.option("--within", metavar="DURATION", default="24h", show_default=True, help="How far to look ahead.")
@queue_option()
@limit_option(50)
@cursor_option
@lists(UPCOMING, empty="no upcoming tasks")
def upcoming(client: Client, within: str, **given: Any) -> list[Task]:
    """List what will run from now on, the first one first; a schedule once, by its next run."""
    return client.upcoming(within, **given)


@task.command()
@task_argument()
@limit_option(10)
@json_option
@pass_client
def show(client: Client, task_id: int, limit: int, as_json: bool) -> None:
    """Show everything about a task: its schedule in words, next runs, last executions and log lines.

    Of a durable task also what it waits for, the steps of its latest run, and the events that were sent to it.
    """
    status = client.status(task_id, limit=limit)
    logs = client.logs(task_id, limit=limit)
    if as_json:
        say_json(status.as_dict() | {"logs": [one.as_dict() for one in logs]} | durable_of(client, task_id))
        return
    say(fields((name, getattr(status.task, name)) for name in status.task.as_dict()))
    say()
    last = status.last_execution
    about: list[tuple[str, object]] = [
        ("schedule", status.schedule),
        ("running now", _running(status)),
        *([("waiting for", words)] if (words := wait_in_words(status)) else ()),
        ("last execution", None if last is None else f"{last.status}, {cell(last.started_at)}"),
        *(("" if at else "next runs", run) for at, run in enumerate(status.next_runs or [None])),
        *(("alert", one.problem) for one in status.alerts),
        ("version", status.version),
    ]
    say(fields(about))
    say()
    by_hand = any(one.run_by is not None for one in status.executions)
    say_records(status.executions, {**EXECUTIONS, **BY_HAND} if by_hand else EXECUTIONS, empty="no executions yet")
    say_durable(client, task_id)
    for records, columns in ((status.missed, MISSED), (logs, LOGS)):
        if records:
            say()
            say_records(records, columns)


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # nobody has a name here
        return None


def _running(status: TaskStatus) -> object:
    one = status.running
    if one is None:
        return status.is_running
    return f"attempt {one.attempt} on {one.who}, since {cell(one.started_at)}"


@task.command()
@task_argument()
@click.option("--timeout", metavar="DURATION", help="Maximum time to wait: 30s, 5m.  [default: forever]")
@pass_client
def wait(client: Client, task_id: int, timeout: str | None) -> None:
    """Wait until a task is completed and print its result; for a schedule, the result of its next tick.

    Exits with 1 if the task is dead, is cancelled, or does not complete in time.
    """
    try:
        say_json(client.wait(task_id, timeout))
    except TimeoutError as error:
        raise PgschedError(str(error)) from None


@task.command("next")
@click.argument("expression", metavar="[EXPR]", required=False)
@click.option("--every", metavar="DURATION", help="An interval instead of a cron expression: 15m, 1mo.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="The schedule's IANA time zone.")
@click.option(
    "--from", "from_", metavar="TIME", callback=read_moment, help="Ticks after this time (ISO 8601).  [default: now]"
)
@click.option(
    "--start", metavar="TIME", callback=read_moment, help="No tick before this time; intervals are counted from it."
)
@click.option("--end", metavar="TIME", callback=read_moment, help="No tick after this time.")
@click.option(
    "-n", "--number", type=click.IntRange(1, MAX_TICKS), default=5, show_default=True, help="Number of ticks to show."
)
@click.option(
    "--explain", "in_words", is_flag=True, help="Explain the schedule in words, and how clock changes affect it."
)
@json_option
@pass_client
def next_(
    client: Client,
    expression: str | None,
    every: str | None,
    timezone: str,
    from_: datetime | None,
    start: datetime | None,
    end: datetime | None,
    number: int,
    in_words: bool,
    as_json: bool,
) -> None:
    """Show the next ticks of a cron expression or of --every. With --json: an array of UTC instants.

    Needs a database only for calendars, as in except=@holidays.
    """
    if (expression is None) == (every is None):
        raise click.UsageError("Give either a cron expression or --every.", click.get_current_context())
    after, start, end = (None if moment is None else instant(moment, timezone) for moment in (from_, start, end))
    calendars = client.calendar_days(expression)  # connects only for an expression that names a calendar
    schedule = schedule_of(expression, every=every, timezone=timezone, start=start, end=end, calendars=calendars)
    ticks = ticks_of(schedule, after=after or datetime.now(UTC), n=number)
    if as_json:
        instants = [tick.at for tick in ticks]
        say_json({"explanation": explain(schedule), "ticks": instants} if in_words else instants)
        return
    if in_words:
        say(f"{explain(schedule)}\n")
    say_table(
        ("UTC", timezone, "THE CLOCKS"),
        [(plain(tick.at), tick.local.isoformat(sep=" "), tick.note) for tick in ticks],
        empty="no more ticks",
    )


# Changing tasks: one line of output per id.


def change_each(client: Client, names: tuple[Name, ...], change: Callable[[Client, int], str]) -> None:
    """Change tasks one by one and print the outcomes; continue after a refusal, and exit with 1 in the end."""
    refused = False
    for name in names:
        try:
            task_id = id_of(client, name)
            say(f"task {task_id}: {change(client, task_id)}")
        except (InvalidTask, TaskNotFound, TransitionRefused) as error:
            say_error(error)
            refused = True
    if refused:
        click.get_current_context().exit(1)


def for_each_id(change: Callable[..., str]) -> Callable[..., None]:
    """Turn a function that changes one task, and returns the outcome, into a command for several."""

    @tasks_argument()
    @pass_client
    @functools.wraps(change)
    def command(client: Client, names: tuple[Name, ...], **given: Any) -> None:
        change_each(client, names, functools.partial(change, **given))

    return command


@task.command()
@for_each_id
@click.option("--by", "run_by", metavar="NAME", help="Who runs it.  [default: you, as this machine knows you]")
def run(client: Client, task_id: int, run_by: str | None) -> str:
    """Run a task now: a waiting one-time task itself, or a copy of any other task."""
    runs = client.run_now(task_id, run_by=run_by or _user())
    return "due now" if runs == task_id else f"task {runs} runs as its copy"


@task.command()
@for_each_id
@click.option("--no-catch-up", is_flag=True, help="Do not run ticks that passed while it was disabled.")
def enable(client: Client, task_id: int, no_catch_up: bool) -> str:
    """Let a disabled task run again."""
    return "enabled" if client.enable(task_id, catch_up=not no_catch_up) else "was enabled already"


@task.command()
@for_each_id
def disable(client: Client, task_id: int) -> str:
    """Pause a task: it is not claimed until it is enabled again."""
    return "disabled" if client.disable(task_id) else "was disabled already"


@task.command()
@for_each_id
def cancel(client: Client, task_id: int) -> str:
    """Cancel a task permanently, even while it runs."""
    client.cancel(task_id)
    return "cancelled"


@task.command()
@for_each_id
@click.option(
    "--payload", metavar="JSON", callback=read_json_object, help="Its payload from now on: JSON, @FILE or - for stdin."
)
def retry(client: Client, task_id: int, payload: dict[str, Any] | None) -> str:
    """Run a dead or cancelled task again now, with its full number of attempts."""
    client.retry(task_id, payload=payload)
    return "will run again"


@task.command()
@tasks_argument()
@yes_option
@pass_client
def delete(client: Client, names: tuple[Name, ...], yes: bool) -> None:
    """Delete a task."""
    confirm(f"Delete {count(len(names), 'task')}?", yes=yes)
    change_each(client, names, _delete)


def _delete(client: Client, task_id: int) -> str:
    client.delete(task_id)
    return "deleted"
