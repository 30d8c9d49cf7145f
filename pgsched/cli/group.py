"""``pgsched group``: tasks made of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import json_option, read_json_object
from pgsched.cli.output import say, say_json
from pgsched.cli.session import pass_client, shows
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

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.scheduled import OnConflict
    from pgsched.domain.task_tree import TaskNode


@click.group()
def group() -> None:
    """Add groups of steps, and show their progress."""


def _read_plan(context: click.Context, parameter: click.Parameter, given: str) -> dict[str, Any] | None:
    return read_json_object(context, parameter, given if given == "-" else f"@{given}")


@group.command()
@click.argument("plan", metavar="FILE", callback=_read_plan)
@group_options
@disabled_option
@conflict_option
@unique_options
@json_option
@pass_client
def add(client: Client, /, plan: dict[str, Any], as_json: bool, on_conflict: OnConflict, **given: Any) -> None:
    """Add a group and print its id. FILE (- for stdin) is a JSON object: {"steps": [{"task_type": ...}, ...]}.

    Steps run one after another; steps with the same "order" run in parallel, and a step with "after" runs when the
    steps it names have finished. With --cron or --every the whole group is a schedule.
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
    "--plan", metavar="FILE", required=True, callback=_read_plan, help='The steps, as of "group add"; - for stdin.'
)
@pass_client
def add_steps(client: Client, task_id: int, plan: dict[str, Any]) -> None:
    """Add steps to a group whose steps run, and print their ids.

    They run in the order that they have among themselves; "after" may name steps that are there.
    """
    for step_id in client.add_steps(task_id, plan):
        say(str(step_id))


@group.command()
@task_argument()
@shows(say_tree)
def show(client: Client, task_id: int) -> TaskNode:
    """Show a group with its steps: status, duration, dependencies and errors."""
    return client.tree(task_id)
