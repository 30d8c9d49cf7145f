"""``pgsched task wait``: the result of a task, when it is there."""

from __future__ import annotations

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import TASK_ID
from pgsched.cli.output import say_json
from pgsched.cli.session import Session


@click.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@click.option("--timeout", metavar="DURATION", help="Wait no longer, as 30s or 5m.  [default: for ever]")
@click.pass_context
def wait(context: click.Context, task_id: int, timeout: str | None) -> None:
    """Wait until a task is completed and print its result; of a schedule that of its next tick.

    Exits with 1 when the task is dead, was cancelled, or is not completed in time.
    """
    session: Session = context.obj
    try:
        with session.client() as client:
            result = client.wait(task_id, timeout)
    except TimeoutError as error:
        say_error(error)
        context.exit(1)
    say_json(result)
