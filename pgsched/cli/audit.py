"""``pgsched audit``: the changes that people made through the web face."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.names import completes
from pgsched.cli.options import cursor_option, examples, limit_option, queue_option
from pgsched.cli.output import Columns
from pgsched.cli.session import lists
from pgsched.cli.task_name import id_of, read_optional
from pgsched.cli.times import instant, read_past
from pgsched.db.queries.audit import list_entries
from pgsched.domain.pages import PagedList, read_cursor, write_cursor

if TYPE_CHECKING:
    from pgsched.cli.task_name import Name
    from pgsched.client.client import Client
    from pgsched.domain.records import AuditEntry


def _object(one: AuditEntry) -> str | None:
    named = {"task": one.task_id, "queue": one.queue, "": one.target}
    return ", ".join(f"{kind} {name}".strip() for kind, name in named.items() if name is not None) or None


COLUMNS: Columns = {
    "ID": "id",
    "AT": "at",
    "ACTOR": "actor",
    "ROLE": "role",
    "FROM": "remote",
    "ACTION": "action",
    "OBJECT": _object,
    "BEFORE": "before",
    "AFTER": "after",
}


@click.group()
def audit() -> None:
    """List changes made through the dashboard and the REST API."""


@audit.command(
    "list",
    epilog=examples(
        "pgsched audit list --actor Ann --since 7d", "pgsched audit list --action task.cancel --queue mail"
    ),
)
@click.option(
    "--task", metavar="ID|KEY", callback=read_optional, shell_complete=completes("key"), help="Only of this task."
)
@click.option("--actor", metavar="NAME", help="Only by this person or program.")
@click.option("--action", metavar="NAME", help="Only this action, as task.cancel, or all of a kind, as task.")
@queue_option()
@click.option("--since", metavar="TIME", callback=read_past, help="Only at this time or later.")
@click.option("--until", metavar="TIME", callback=read_past, help="Only before this time.")
@limit_option(50)
@cursor_option
@lists(COLUMNS, empty="no changes")
def list_(
    client: Client,
    task: Name | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    **given: Any,
) -> list[AuditEntry]:
    """List entries of the audit log that match all filters, the latest first."""
    task_id = None if task is None else id_of(client, task)
    first = datetime.min.replace(tzinfo=UTC) if since is None else instant(since, None)
    last = datetime.max.replace(tzinfo=UTC) if until is None else instant(until, None)
    before_id = read_cursor("audit", cursor, int)
    found: PagedList[AuditEntry] = PagedList()
    while True:
        page = client.database.run(
            list_entries(task_id=task_id, limit=limit - len(found), before_id=before_id, **given)
        )
        found += [one for one in page.entries if first <= one.at < last]
        before_id = page.next_before
        is_over = before_id is None or any(one.at < first for one in page.entries)
        if is_over or len(found) == limit:
            found.next_cursor = None if is_over else write_cursor("audit", before_id)
            return found
