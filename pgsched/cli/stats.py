"""``pgsched stats``: the queues, the workers, and what nobody can run."""

from __future__ import annotations

import click

from pgsched.cli import queues, workers
from pgsched.cli.options import json_option
from pgsched.cli.output import say, say_json, say_table
from pgsched.cli.session import Session


@click.command()
@json_option
@click.pass_obj
def stats(session: Session, as_json: bool) -> None:
    """Show every queue, every worker, and due tasks that no worker has a handler for."""
    with session.client() as client:
        found = client.stats()
    if as_json:
        say_json(found.as_dict())
        return
    say_table(queues.HEADERS, queues.rows(found.queues), empty=queues.NONE_YET)
    say()
    say_table(workers.HEADERS, workers.rows(found.workers), empty=workers.NONE_YET)
    if found.unhandled:
        say("\ndue, and no worker has a handler for it:")
        say_table(
            ("QUEUE", "TYPE", "DUE"),
            [(one.queue, one.task_type, one.due) for one in found.unhandled],
            empty="",
        )
