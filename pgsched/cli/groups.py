"""``pgsched group``: tasks made of steps."""

from __future__ import annotations

from typing import Any

import click

from pgsched.cli.options import TASK_ID, json_option, read_json_object
from pgsched.cli.output import say, say_json
from pgsched.cli.session import Session
from pgsched.cli.task_options import chosen_options, group_options
from pgsched.cli.task_tree import show_tree


@click.group()
def group() -> None:
    """Add groups of steps, and show how far they are."""


def _read_plan(context: click.Context, parameter: click.Parameter, given: str) -> dict[str, Any] | None:
    return read_json_object(context, parameter, given if given == "-" else f"@{given}")


@group.command()
@click.argument("plan", metavar="FILE", callback=_read_plan)
@group_options
@click.option("--disabled", is_flag=True, help="Add it paused.")
@json_option
@click.pass_obj
def add(session: Session, /, plan: dict[str, Any], as_json: bool, disabled: bool, **given: Any) -> None:
    """Add a group and print its id. FILE (- for stdin) is a JSON object: {"steps": [{"task_type": ...}, ...]}.

    Steps run one after the other; those of one "order" side by side, one with "after" when the steps that it names
    have ended. With --cron or --every the whole group is a schedule.
    """
    options = chosen_options(given)
    if disabled:
        options["enabled"] = False
    with session.client() as client:
        task_id = client.schedule_group(plan, **options)
        if as_json:
            say_json(client.tree(task_id).as_dict())
        else:
            say(str(task_id))


@group.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@json_option
@click.pass_obj
def show(session: Session, task_id: int, as_json: bool) -> None:
    """Show a group with its steps: status, duration, what each waits for, why one failed."""
    show_tree(session, task_id, as_json=as_json)
