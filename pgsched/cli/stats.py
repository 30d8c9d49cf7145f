"""``pgsched stats``: queues, workers, and due tasks without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli import queue, worker
from pgsched.cli.output import say, say_records
from pgsched.cli.session import shows
from pgsched.domain.records import Stats

if TYPE_CHECKING:
    from pgsched.client.client import Client


def _say(found: Stats) -> None:
    say_records(found.queues, queue.COLUMNS, empty=queue.NONE_YET)
    say()
    say_records(found.workers, worker.COLUMNS, empty=worker.NONE_YET)
    if found.unhandled:
        say("\ndue, and no worker has a handler for it:")
        say_records(found.unhandled, {"QUEUE": "queue", "TYPE": "task_type", "DUE": "due"})


@click.command()
@shows(_say)
def stats(client: Client) -> Stats:
    """Show every queue, every worker, and due tasks that no worker has a handler for."""
    return client.stats()
