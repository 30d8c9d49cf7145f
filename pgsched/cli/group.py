"""``pgsched group``: tasks that consist of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import cursor_option, examples, json_option, limit_option, queue_option, read_json_object
from pgsched.cli.output import Columns, say, say_json
from pgsched.cli.session import lists, pass_client, shows
from pgsched.cli.task_add import (
    chosen_options,
    conflict_option,
    disabled_option,
    group_options,
    say_differs,
    say_outcome,
    take_unique,
    unique_options,
)
from pgsched.cli.task_name import task_argument
from pgsched.cli.task_tree import say_tree
from pgsched.domain.attempt import GROUP
from pgsched.domain.task_filters import STATUSES

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.records import Task
    from pgsched.domain.scheduled import OnConflict
    from pgsched.domain.task_tree import TaskNode


@click.group()
def group() -> None:
    """Add, list and show groups: tasks that consist of steps."""


def _read_plan(context: click.Context, parameter: click.Parameter, given: str) -> dict[str, Any] | None:
    return read_json_object(context, parameter, given if given == "-" else f"@{given}")


COLUMNS: Columns = {
    "ID": "id",
    "KEY": "idempotency_key",
    "NAME": "task_name",
    "QUEUE": "queue",
    "STATUS": lambda one: one.status if one.enabled else f"{one.status}, disabled",
    "CREATED": "created_at",
    "NEXT RUN": "next_run_at",
}


@group.command("list", epilog=examples("pgsched group list --status running"))
@queue_option()
@click.option("--status", type=click.Choice(STATUSES), help="Only in this status.")
@limit_option(50)
@cursor_option
@lists(COLUMNS, empty="no groups")
def list_(client: Client, queue: str | None, status: str | None, limit: int, cursor: str | None) -> list[Task]:
    """List groups, the latest first."""
    return client.list_tasks(task_type=GROUP, queue=queue, status=status, limit=limit, cursor=cursor)


@group.command(epilog=examples("pgsched group add import.json --key import-2030-03-29"))
@click.argument("plan", metavar="FILE", callback=_read_plan)
@group_options
@disabled_option
@conflict_option
@unique_options
@json_option
@pass_client
def add(client: Client, /, plan: dict[str, Any], as_json: bool, on_conflict: OnConflict, **given: Any) -> None:
    """Add a group and print its id. FILE (- for stdin) is a JSON object: {"steps": [{"task_type": ...}, ...]}.

    Steps run one after another. Steps with the same "order" run in parallel, and a step with "after" runs once the
    steps that it names have finished. With --cron or --every the whole group is a schedule.
    """
    unique = take_unique(given)
    options = chosen_options(given)
    scheduled = client.schedule_group(plan, on_conflict=on_conflict, unique=unique, **options)
    say_differs(scheduled, given["key"])
    if as_json:
        say_json(client.tree(scheduled).as_dict())
    else:
        say_outcome(scheduled, on_conflict, unique)


@group.command("add-steps")
@task_argument()
@click.option(
    "--plan",
    metavar="FILE",
    required=True,
    callback=_read_plan,
    help='The steps, in the format of "group add"; - for stdin.',
)
@pass_client
def add_steps(client: Client, task_id: int, plan: dict[str, Any]) -> None:
    """Add steps to a running group, and print their ids.

    They run in the order in which they are given; "after" may name existing steps.
    """
    for step_id in client.add_steps(task_id, plan):
        say(str(step_id))


@group.command()
@task_argument()
@shows(say_tree)
def show(client: Client, task_id: int) -> TaskNode:
    """Show a group with its steps: status, duration, dependencies and errors."""
    return client.tree(task_id)
