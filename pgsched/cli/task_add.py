"""``pgsched task add`` and ``pgsched task edit``."""

from __future__ import annotations

from typing import Any, get_args

import click

from pgsched.cli.options import TASK_ID, json_option
from pgsched.cli.output import say, say_json
from pgsched.cli.session import Session
from pgsched.cli.task_options import CLEARABLE, chosen_options, lacks_zone, task_options
from pgsched.domain.scheduled import OnConflict


@click.command()
@click.argument("task_type", metavar="TYPE")
@task_options
@click.option("--disabled", is_flag=True, help="Add it paused.")
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="keep",
    help="The task that has the --key stays as it is, or is changed to what is given.",
)
@json_option
@click.pass_obj
def add(
    session: Session, /, task_type: str, as_json: bool, disabled: bool, on_conflict: OnConflict, **given: Any
) -> None:
    """Add a task and print its id.

    Without --at, --delay, --cron or --every it is due at once. What is left out has the table's default. With
    --on-conflict update it also prints whether the task was created, updated or unchanged.
    """
    payload = given.pop("payload")
    options = chosen_options(given)
    if disabled:
        options["enabled"] = False
    with session.client() as client:
        task_id = client.schedule(task_type, payload, on_conflict=on_conflict, **options)
        if as_json:
            outcome = {} if task_id.outcome is None else {"outcome": task_id.outcome}
            say_json(client.get(task_id).as_dict() | outcome)
        else:
            say(" ".join(filter(None, (str(task_id), task_id.outcome))))


@click.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@task_options
@click.option("--clear", type=click.Choice(sorted(CLEARABLE)), multiple=True, help="Empty this one; may be repeated.")
@json_option
@click.pass_obj
def edit(session: Session, /, task_id: int, as_json: bool, clear: tuple[str, ...], **given: Any) -> None:
    """Change a task: only what is given. An edited schedule is planned afresh.

    A task that runs is not disturbed, its next run is as edited. A time without an offset is in --timezone, else in
    the task's own zone.
    """
    for name in clear:
        if given[name.replace("-", "_")] is not None:
            raise click.UsageError(f"Give either --{name} or --clear {name}.", click.get_current_context())
    payload = given.pop("payload")
    with session.client() as client:
        zone = client.get(task_id).timezone if lacks_zone(given) else None
        options: Any = chosen_options(given, zone=zone) | {CLEARABLE[name]: None for name in clear}
        client.update(task_id, payload, **options)
        if as_json:
            say_json(client.get(task_id).as_dict())
        else:
            say(f"task {task_id}: changed")
