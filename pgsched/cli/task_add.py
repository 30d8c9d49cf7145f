"""``pgsched task add`` and ``pgsched task edit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from pgsched.cli.options import json_option, task_id_argument
from pgsched.cli.output import say, say_json
from pgsched.cli.session import pass_client
from pgsched.cli.task_options import CLEARABLE, chosen_options, disabled_option, lacks_zone, task_options
from pgsched.domain.scheduled import OnConflict

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command()
@click.argument("task_type", metavar="TYPE")
@task_options
@disabled_option
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="keep",
    help="Keep the task that already has the --key, or update it to the given options.",
)
@json_option
@pass_client
def add(client: Client, /, task_type: str, payload: Any, as_json: bool, on_conflict: OnConflict, **given: Any) -> None:
    """Add a task and print its id.

    Without --at, --delay, --cron or --every it is due immediately. Omitted options have the table's defaults. With
    --on-conflict update it also prints whether the task was created, updated or unchanged.
    """
    task_id = client.schedule(task_type, payload, on_conflict=on_conflict, **chosen_options(given))
    if as_json:
        outcome = {} if task_id.outcome is None else {"outcome": task_id.outcome}
        say_json(client.get(task_id).as_dict() | outcome)
    else:
        say(" ".join(filter(None, (str(task_id), task_id.outcome))))


@click.command()
@task_id_argument
@task_options
@click.option(
    "--clear", type=click.Choice(sorted(CLEARABLE)), multiple=True, help="Unset this option; may be repeated."
)
@json_option
@pass_client
def edit(client: Client, /, task_id: int, payload: Any, as_json: bool, clear: tuple[str, ...], **given: Any) -> None:
    """Change the given options of a task, and no others. An edited schedule is replanned.

    A running attempt is not disturbed; the next run uses the new values. A time without an offset is in --timezone, or
    else in the task's zone.
    """
    for name in clear:
        if given[name.replace("-", "_")] is not None:
            raise click.UsageError(f"Give either --{name} or --clear {name}.", click.get_current_context())
    zone = client.get(task_id).timezone if lacks_zone(given) else None
    options: Any = chosen_options(given, zone=zone) | {CLEARABLE[name]: None for name in clear}
    client.update(task_id, payload, **options)
    if as_json:
        say_json(client.get(task_id).as_dict())
    else:
        say(f"task {task_id}: changed")
