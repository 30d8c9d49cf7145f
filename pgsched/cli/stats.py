"""``pgsched stats``: queues, workers, and due tasks without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli import queues, workers
from pgsched.cli.options import json_option
from pgsched.cli.output import say, say_json, say_records
from pgsched.cli.session import pass_client

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command()
@json_option
@pass_client
def stats(client: Client, as_json: bool) -> None:
    """Show every queue, every worker, and due tasks that no worker has a handler for."""
    found = client.stats()
    if as_json:
        say_json(found.as_dict())
        return
    say_records(found.queues, queues.COLUMNS, empty=queues.NONE_YET)
    say()
    say_records(found.workers, workers.COLUMNS, empty=workers.NONE_YET)
    if found.unhandled:
        say("\ndue, and no worker has a handler for it:")
        say_records(found.unhandled, {"QUEUE": "queue", "TYPE": "task_type", "DUE": "due"})
