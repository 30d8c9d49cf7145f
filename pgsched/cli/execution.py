"""``pgsched execution``: the attempts at tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from pgsched.cli.names import completes
from pgsched.cli.options import cursor_option, examples, limit_option, queue_option, type_option
from pgsched.cli.output import Columns, first_line
from pgsched.cli.session import lists
from pgsched.cli.task_name import id_of, read_optional
from pgsched.cli.times import instant, read_past, span
from pgsched.db.queries.dashboard import EXECUTION_STATUSES, latest_executions
from pgsched.domain.pages import PagedList, read_cursor, write_cursor
from pgsched.domain.validation import interval_of

if TYPE_CHECKING:
    from pgsched.cli.task_name import Name
    from pgsched.client.client import Client
    from pgsched.domain.records import Execution

COLUMNS: Columns = {
    "STARTED": "started_at",
    "TASK": "task_id",
    "TYPE": "task_type",
    "QUEUE": "queue",
    "ATTEMPT": lambda one: one.attempt or "uncounted",
    "STATUS": "status",
    "DURATION": lambda one: None if one.duration_ms is None else span(one.duration_ms / 1000),
    "WORKER": "who",
    "ERROR": lambda one: first_line(one.error),
}
DEFAULT_WITHIN: Final = "1h"
_LOWEST: Final = -(2**63)


@click.group()
def execution() -> None:
    """List executions: the attempts at tasks."""


@execution.command(
    "list",
    epilog=examples(
        "pgsched execution list --status failed --since 24h",
        "pgsched execution list --task nightly-report --output csv",
    ),
)
@click.option(
    "--task",
    metavar="ID|KEY",
    callback=read_optional,
    shell_complete=completes("key"),
    help="Only of this task, however long ago.",
)
@queue_option()
@type_option
@click.option("--status", type=click.Choice(EXECUTION_STATUSES), help="Only with this status.")
@click.option(
    "--within",
    metavar="DURATION",
    help=f"Only those that started within this time until now: 15m, 7d.  [default: {DEFAULT_WITHIN}]",
)
@click.option("--since", metavar="TIME", callback=read_past, help="Only those that started at this time or later.")
@click.option("--until", metavar="TIME", callback=read_past, help="Only those that started before this time.")
@limit_option(50)
@cursor_option
@lists(COLUMNS, empty="no executions")
def list_(
    client: Client,
    task: Name | None,
    queue: str | None,
    task_type: str | None,
    status: str | None,
    within: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> list[Execution]:
    """List executions that match all filters, the latest first."""
    if task is not None:
        if any(one is not None for one in (queue, task_type, status, within, since, until)):
            raise click.UsageError("--task excludes the other filters.")
        task_id = id_of(client, task)
        found = client.executions(task_id, limit=limit, cursor=cursor)
        if not found and cursor is None:
            client.get(task_id)  # raises TaskNotFound unless the task exists
        return found
    if within is not None and since is not None:
        raise click.UsageError("Give either --within or --since.")
    place = read_cursor("attempts", cursor, datetime, int, int)
    if place is None and until is not None:
        place = (instant(until, None), _LOWEST, _LOWEST)
    page = client.database.run(
        latest_executions(
            since=_begin(within, since), queue=queue, task_type=task_type, status=status, before=place, limit=limit
        )
    )
    is_full = len(page) == limit
    last = (page[-1].started_at, page[-1].task_id, page[-1].fencing_token) if is_full else (None,)
    return PagedList(page, write_cursor("attempts", *last))


def _begin(within: str | None, since: datetime | None) -> datetime:
    if since is not None:
        return instant(since, None)
    return datetime.now(UTC) - timedelta(seconds=interval_of("within", within or DEFAULT_WITHIN).seconds)
