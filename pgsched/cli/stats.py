"""``pgsched stats``: queues, workers, and due tasks without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli import queue, worker
from pgsched.cli.output import say, say_records, say_table
from pgsched.cli.session import shows
from pgsched.domain.records import StatusCount
from pgsched.domain.stats import Stats

if TYPE_CHECKING:
    from pgsched.client.client import Client


def _say(found: Stats) -> None:
    say_table(("STATUS", "TASKS"), [(one.status, number_of(one)) for one in found.statuses])
    say()
    say_records(found.queues, queue.COLUMNS, empty=queue.NONE_YET)
    say()
    say_records(found.workers, worker.COLUMNS, empty=worker.NONE_YET)
    if found.unhandled:
        say("\nready, but no worker has a handler:")
        say_records(found.unhandled, {"QUEUE": "queue", "TYPE": "task_type", "READY": "due"})


def number_of(one: StatusCount) -> str:
    """The number of tasks in a status; an estimate begins with ``about``."""
    return f"{one.number:,}" if one.exact else f"about {one.number:,}"


@click.command()
@shows(_say, several=True)
def stats(client: Client) -> Stats:
    """Show the numbers of tasks, queues and workers.

    Also lists due tasks that no worker has a handler for. Numbers that begin with "about" are estimates, because there
    are too many tasks to count.
    """
    return client.stats()
