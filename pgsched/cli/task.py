"""``pgsched task``: adds, lists, shows and changes tasks."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pgsched.cli.errors import say_error
from pgsched.cli.former import former
from pgsched.cli.options import (
    MAX_ID,
    confirm,
    cursor_option,
    examples,
    limit_option,
    queue_option,
    read_json_object,
    yes_option,
)
from pgsched.cli.output import Columns, cell, count, fields, say, say_done, say_json, say_records
from pgsched.cli.reasons import say_why
from pgsched.cli.session import lists, pass_client, shows
from pgsched.cli.task_add import add, edit
from pgsched.cli.task_bulk import bulk
from pgsched.cli.task_durable import Durable, durable_of, emit, restart, say_durable, wait_in_words
from pgsched.cli.task_export import export
from pgsched.cli.task_filters import filter_options, filters_of
from pgsched.cli.task_name import Name, id_of, task_argument, tasks_argument
from pgsched.cli.task_next import next_
from pgsched.cli.task_payloads import edit_payloads
from pgsched.cli.task_tree import tree
from pgsched.cli.times import span
from pgsched.db.queries.task_search import MAX_FOUND
from pgsched.domain.errors import InvalidTask, PgschedError, TaskNotFound, TransitionRefused
from pgsched.domain.pages import PagedList, place_of
from pgsched.domain.records import Task

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.records import LogEntry
    from pgsched.domain.task_status import TaskStatus
    from pgsched.domain.waiting.reasons import Why


def schedule_in_words(one: Task) -> str:
    """Describe when a task runs: ``once``, ``every 1h``, ``cron 0 7 * * * Europe/Berlin``."""
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
    "SCHEDULE": schedule_in_words,
    "NEXT RUN": "next_run_at",
    "ATTEMPTS": lambda one: f"{one.attempts}/{one.max_attempts}",
}
UPCOMING: Columns = {
    "NEXT RUN": "next_run_at",
    "ID": "id",
    "TYPE": "task_type",
    "NAME": "task_name",
    "QUEUE": "queue",
    "SCHEDULE": schedule_in_words,
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


task.add_command(former(next_, "pgsched task next", now="pgsched schedule next"))
for command in (add, bulk, edit, edit_payloads, emit, export, restart, tree):
    task.add_command(command)


@task.command(
    "list",
    epilog=examples(
        "pgsched task list --status running --watch",
        "pgsched task list --type invoice --created-by shop --since 2h --error timeout",
        "pgsched task list --where 'tag:import payload.order = 50123' --output json",
    ),
)
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
    """List the tasks that will run from now on, the next one first; a schedule once, by its next run."""
    return client.upcoming(within, **given)


class Shown(NamedTuple):
    """Everything about a task."""

    status: TaskStatus
    why: Why | None
    logs: list[LogEntry]
    durable: Durable

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        why = None if self.why is None else self.why.as_dict()
        logs = [one.as_dict() for one in self.logs]
        return self.status.as_dict() | {"why": why, "logs": logs} | self.durable.as_dict()


def _say_task(shown: Shown) -> None:
    status = shown.status
    say(fields((name, getattr(status.task, name)) for name in status.task.as_dict()))
    say()
    if shown.why is not None:
        say_why(shown.why)
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
    say_durable(shown.durable)
    for records, columns in ((status.missed, MISSED), (shown.logs, LOGS)):
        if records:
            say()
            say_records([*records], columns)


@task.command(epilog=examples("pgsched task show 4711", "pgsched task show nightly-report --watch=5"))
@task_argument()
@limit_option(10)
@shows(_say_task)
def show(client: Client, task_id: int, limit: int) -> Shown:
    """Show everything about a task: why it waits, its schedule and next runs, its last executions and log lines.

    For a durable task, also what it waits for, the steps of its latest run and the events that it was sent.
    """
    status = client.status(task_id, limit=limit)
    waits = status.task.status in ("pending", "blocked")
    return Shown(
        status, client.why(task_id) if waits else None, client.logs(task_id, limit=limit), durable_of(client, task_id)
    )


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
@shows(say_why)
def why(client: Client, task_id: int) -> Why:
    """Explain why a task waits, and what would make it run."""
    return client.why(task_id)


@task.command()
@task_argument()
@click.option("--timeout", metavar="DURATION", help="Maximum time to wait: 30s, 5m.  [default: forever]")
@pass_client
def wait(client: Client, task_id: int, timeout: str | None) -> None:
    """Wait until a task is completed and print its result as JSON; for a schedule, the result of its next tick.

    Exits with 1 if the task dies, is cancelled or does not complete in time.
    """
    try:
        say_json(client.wait(task_id, timeout))
    except TimeoutError as error:
        raise PgschedError(str(error)) from None


# Changing tasks: one line of output per id.


def change_each(client: Client, names: tuple[Name, ...], change: Callable[[Client, int], str]) -> None:
    """Change tasks one by one and print each outcome; continue after an error, and then exit with 1."""
    refused = False
    for name in names:
        try:
            task_id = id_of(client, name)
            say_done(f"task {task_id}: {change(client, task_id)}")
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
@click.option("--by", "run_by", metavar="NAME", help="Who runs it.  [default: your user name on this machine]")
def run(client: Client, task_id: int, run_by: str | None) -> str:
    """Run a task now: a waiting one-time task itself, or a copy of any other task."""
    runs = client.run_now(task_id, run_by=run_by or _user())
    return "due now" if runs == task_id else f"task {runs} runs as its copy"


@task.command()
@for_each_id
@click.option("--no-catch-up", is_flag=True, help="Do not run the ticks that it missed while it was disabled.")
def enable(client: Client, task_id: int, no_catch_up: bool) -> str:
    """Enable a disabled task: it may run again."""
    return "enabled" if client.enable(task_id, catch_up=not no_catch_up) else "was enabled already"


@task.command()
@for_each_id
def disable(client: Client, task_id: int) -> str:
    """Disable a task: workers do not claim it until it is enabled again."""
    return "disabled" if client.disable(task_id) else "was disabled already"


@task.command()
@for_each_id
def cancel(client: Client, task_id: int) -> str:
    """Cancel a task permanently, even while it runs."""
    client.cancel(task_id)
    return "cancelled"


@task.command()
@for_each_id
@click.option("--payload", metavar="JSON", callback=read_json_object, help="A new payload: JSON, @FILE or - for stdin.")
def retry(client: Client, task_id: int, payload: dict[str, Any] | None) -> str:
    """Run a dead or cancelled task again now, with its full number of attempts."""
    client.retry(task_id, payload=payload)
    return "will run again"


@task.command()
@tasks_argument()
@yes_option
@pass_client
def delete(client: Client, names: tuple[Name, ...], yes: bool) -> None:
    """Permanently delete tasks."""
    confirm(f"Delete {count(len(names), 'task')}?", yes=yes)
    change_each(client, names, _delete)


def _delete(client: Client, task_id: int) -> str:
    client.delete(task_id)
    return "deleted"
