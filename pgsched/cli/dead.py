"""``pgsched dead``: dead tasks, which failed for good."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import (
    confirm,
    cursor_option,
    examples,
    limit_option,
    option_group,
    queue_option,
    type_option,
    yes_option,
)
from pgsched.cli.output import Columns, count, first_line, say_done
from pgsched.cli.progress import ProgressLine
from pgsched.cli.session import lists, pass_client
from pgsched.cli.task_filters import dead_filter_options, filters_of
from pgsched.cli.times import read_past
from pgsched.db.queries.dead_tasks import count_dead

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.records import Task

filter_options = option_group(queue_option(), type_option)
COLUMNS: Columns = {
    "ID": "id",
    "TYPE": "task_type",
    "QUEUE": "queue",
    "ATTEMPTS": "attempts",
    "DIED": "died_at",
    "ERROR": lambda one: first_line(one.last_error),
}


@click.group()
def dead() -> None:
    """List, retry and purge dead tasks, which failed for good."""


@dead.command("list", epilog=examples("pgsched dead list --type invoice --since 24h"))
@dead_filter_options
@click.option(
    "--died-after",
    "--since",
    metavar="TIME",
    callback=read_past,
    help="Only those that died at this time or later, as --ended-after.",
)
@click.option(
    "--died-before", "--until", metavar="TIME", callback=read_past, help="Only those that died before this time."
)
@limit_option(50)
@cursor_option
@lists(COLUMNS, empty="no dead tasks")
def list_(
    client: Client,
    died_after: datetime | None,
    died_before: datetime | None,
    limit: int,
    cursor: str | None,
    **given: Any,
) -> list[Task]:
    """List dead tasks that match all filters, the latest first."""
    died = {"ended_after": died_after, "ended_before": died_before}
    given |= {name: moment for name, moment in died.items() if moment is not None}
    return client.dead(limit=limit, cursor=cursor, **filters_of(given))


@dead.command(epilog=examples("pgsched dead retry --queue mail --yes"))
@filter_options
@yes_option
@pass_client
def retry(client: Client, yes: bool, **filters: Any) -> None:
    """Retry every matching dead task now, with its full number of attempts.

    Each transaction retries up to 1,000 tasks. If the command is interrupted, run it again to continue.
    """
    if found := client.database.run(count_dead(**filters)):
        confirm(f"Run {count(found, 'dead task')} {which(**filters)} again?", yes=yes)
    with ProgressLine("dead tasks retried", total=found) as progress:
        number = client.retry_dead(**filters, all=True, on_progress=progress)
    say_done(f"{count(number, 'dead task')} will run again")


@dead.command(epilog=examples("pgsched dead purge --older-than 30d"))
@filter_options
@click.option("--older-than", metavar="DURATION", help="Only those that died longer ago than this: 7d, 12h.")
@yes_option
@pass_client
def purge(client: Client, yes: bool, **filters: Any) -> None:
    """Permanently delete every matching dead task.

    Each transaction deletes up to 1,000 tasks. If the command is interrupted, run it again to continue.
    """
    if found := client.database.run(count_dead(**filters)):
        confirm(f"Delete {count(found, 'dead task')} {which(**filters)} permanently?", yes=yes)
    with ProgressLine("dead tasks deleted", total=found) as progress:
        number = client.purge_dead(**filters, all=True, on_progress=progress)
    say_done(f"{count(number, 'dead task')} deleted")


def which(queue: str | None, task_type: str | None, older_than: str | None = None) -> str:
    """Describe the filters: ``of queue mail that died more than 7d ago``."""
    words = [
        f"of queue {queue}" if queue is not None else "of all queues",
        f"of type {task_type}" if task_type is not None else "",
        f"that died more than {older_than} ago" if older_than is not None else "",
    ]
    return " ".join(filter(None, words))
