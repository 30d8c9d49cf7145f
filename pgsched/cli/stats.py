"""``pgsched stats``: queues, workers, and due tasks without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli import queue, worker
from pgsched.cli.options import json_option
from pgsched.cli.output import say, say_record, say_records
from pgsched.cli.session import pass_client
from pgsched.domain.records import Stats

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command()
@json_option
@pass_client
def stats(client: Client, as_json: bool) -> None:
    """Show every queue, every worker, and due tasks that no worker has a handler for."""
    say_record(client.stats(), _say, as_json=as_json)


def _say(found: Stats) -> None:
    say_records(found.queues, queue.COLUMNS, empty=queue.NONE_YET)
    say()
    say_records(found.workers, worker.COLUMNS, empty=worker.NONE_YET)
    if found.unhandled:
        say("\ndue, and no worker has a handler for it:")
        say_records(found.unhandled, {"QUEUE": "queue", "TYPE": "task_type", "DUE": "due"})
