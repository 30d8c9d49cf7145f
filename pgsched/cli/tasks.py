"""``pgsched task``: tasks added, listed, shown and changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import (
    MAX_ID,
    TASK_ID,
    confirm,
    json_option,
    limit_option,
    queue_option,
    yes_option,
)
from pgsched.cli.output import cell, count, fields, say, say_json, say_rows, say_table, span
from pgsched.cli.session import Session
from pgsched.cli.task_add import add, edit
from pgsched.cli.task_next import next_
from pgsched.cli.task_tree import tree
from pgsched.cli.task_wait import wait
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask, TaskNotFound, TransitionRefused
from pgsched.domain.records import Task

STATUSES = ("pending", "running", "blocked", "completed", "dead", "cancelled")
SCHEDULE_TYPES = ("one_time", "recurring", "repeating")


@click.group()
def task() -> None:
    """Add, list, show and change tasks."""


task.add_command(add)
task.add_command(edit)
task.add_command(next_)
task.add_command(tree)
task.add_command(wait)


@task.command("list")
@queue_option("Only of this queue.")
@click.option("--type", "task_type", metavar="TYPE", help="Only of this task type.")
@click.option("--status", type=click.Choice(STATUSES), help="Only in this status.")
@click.option("--schedule-type", type=click.Choice(SCHEDULE_TYPES), help="Only with such a schedule.")
@click.option("--tag", help="Only with this tag.")
@click.option("--tenant", help="Only of this tenant.")
@click.option("--parent", type=TASK_ID, help="Only children of this task.")
@limit_option(50)
@click.option("--before-id", type=click.IntRange(1, MAX_ID), help="The next page: only with a smaller id.")
@json_option
@click.pass_obj
def list_(
    session: Session,
    queue: str | None,
    task_type: str | None,
    status: str | None,
    schedule_type: str | None,
    tag: str | None,
    tenant: str | None,
    parent: int | None,
    limit: int,
    before_id: int | None,
    as_json: bool,
) -> None:
    """List tasks, the latest first."""
    with session.client() as client:
        found = client.list_tasks(
            queue=queue,
            task_type=task_type,
            status=status,
            schedule_type=schedule_type,
            tag=tag,
            tenant_id=tenant,
            parent_id=parent,
            limit=limit,
            before_id=before_id,
        )
    say_rows(
        found,
        ("ID", "TYPE", "QUEUE", "PRIORITY", "STATUS", "SCHEDULE", "NEXT RUN", "ATTEMPTS"),
        [
            (
                one.id,
                one.task_type,
                one.queue,
                one.priority,
                one.status if one.enabled else f"{one.status}, paused",
                _schedule(one),
                one.next_run_at,
                f"{one.attempts}/{one.max_attempts}",
            )
            for one in found
        ],
        as_json=as_json,
        empty="no tasks",
    )


def _schedule(one: Task) -> str:
    if one.cron_expression is not None:
        zone = "" if one.timezone == "UTC" else f" {one.timezone}"
        return f"cron {one.cron_expression}{zone}"
    if one.repeat_interval is not None:
        times = "" if one.repeat_count is None else f", {count(one.repeat_count, 'time')}"
        return f"every {cell(one.repeat_interval)}{times}"
    return "once"


@task.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@limit_option(10)
@json_option
@click.pass_obj
def show(session: Session, task_id: int, limit: int, as_json: bool) -> None:
    """Show all of a task: its schedule in words, next runs, last executions, and what its handler logged."""
    with session.client() as client:
        status = client.status(task_id, limit=limit)
        logs = client.logs(task_id, limit=limit)
    if as_json:
        say_json(status.as_dict() | {"logs": [one.as_dict() for one in logs]})
        return
    found, executions = status.task, status.executions
    say(fields((name, getattr(found, name)) for name in found.as_dict()))
    say()
    last = status.last_execution
    coming: list[tuple[str, object]] = [
        ("next runs" if at == 0 else "", run) for at, run in enumerate(status.next_runs)
    ]
    say(
        fields(
            [
                ("schedule", status.schedule),
                ("running now", status.is_running),
                ("last execution", None if last is None else f"{last.status}, {cell(last.started_at)}"),
                *(coming or [("next runs", None)]),
                *(("alert", one.problem) for one in status.alerts),
            ]
        )
    )
    say()
    say_table(
        ("ATTEMPT", "STATUS", "STARTED", "TOOK", "ERROR"),
        [
            (
                one.attempt,
                one.status,
                one.started_at,
                None if one.duration_ms is None else span(one.duration_ms / 1000),
                one.error,
            )
            for one in executions
        ],
        empty="no executions yet",
    )
    if status.missed:
        say()
        say_table(
            ("NOT RUN", "TICKS", "FROM", "INSTEAD"),
            [(one.reason, one.ticks, one.first_tick, one.next_tick) for one in status.missed],
            empty="",
        )
    if logs:
        say()
        say_table(
            ("LOGGED", "ATTEMPT", "LEVEL", "MESSAGE", "FIELDS"),
            [(one.logged_at, one.attempt, one.level, one.message, one.fields) for one in logs],
            empty="",
        )


# Changing tasks: one line for each id.


def for_each_id(session: Session, ids: tuple[int, ...], change: Callable[[Client, int], str]) -> None:
    """Change one task after the other and say what happened; after a refusal go on, and exit with 1."""
    refused = False
    with session.client() as client:
        for task_id in ids:
            try:
                say(f"task {task_id}: {change(client, task_id)}")
            except (InvalidTask, TaskNotFound, TransitionRefused) as error:
                say_error(error)
                refused = True
    if refused:
        click.get_current_context().exit(1)


def ids_argument(command: Any) -> Any:
    """``ID…``: at least one."""
    return click.argument("ids", metavar="ID...", type=TASK_ID, nargs=-1, required=True)(command)


@task.command()
@ids_argument
@click.pass_obj
def run(session: Session, ids: tuple[int, ...]) -> None:
    """Run a task now: a waiting one-time task itself, a copy of any other."""

    def change(client: Client, task_id: int) -> str:
        runs = client.run_now(task_id)
        return "due now" if runs == task_id else f"task {runs} runs as its copy"

    for_each_id(session, ids, change)


@task.command()
@ids_argument
@click.option("--no-catch-up", is_flag=True, help="Ticks that passed while it was paused are not run.")
@click.pass_obj
def enable(session: Session, ids: tuple[int, ...], no_catch_up: bool) -> None:
    """Let a paused task run again."""

    def change(client: Client, task_id: int) -> str:
        return "enabled" if client.enable(task_id, catch_up=not no_catch_up) else "was enabled already"

    for_each_id(session, ids, change)


@task.command()
@ids_argument
@click.pass_obj
def disable(session: Session, ids: tuple[int, ...]) -> None:
    """Pause a task: it is not claimed until it is enabled."""
    for_each_id(
        session,
        ids,
        lambda client, task_id: "disabled" if client.disable(task_id) else "was disabled already",
    )


@task.command()
@ids_argument
@click.pass_obj
def cancel(session: Session, ids: tuple[int, ...]) -> None:
    """Stop a task for good, also while it runs."""

    def change(client: Client, task_id: int) -> str:
        client.cancel(task_id)
        return "cancelled"

    for_each_id(session, ids, change)


@task.command()
@ids_argument
@click.pass_obj
def retry(session: Session, ids: tuple[int, ...]) -> None:
    """Give a dead or cancelled task all its attempts again, due now."""

    def change(client: Client, task_id: int) -> str:
        client.retry(task_id)
        return "will run again"

    for_each_id(session, ids, change)


@task.command()
@ids_argument
@yes_option
@click.pass_obj
def delete(session: Session, ids: tuple[int, ...], yes: bool) -> None:
    """Delete a task."""

    def change(client: Client, task_id: int) -> str:
        client.delete(task_id)
        return "deleted"

    confirm(f"Delete {count(len(ids), 'task')}?", yes=yes)
    for_each_id(session, ids, change)
