"""``pgsched task edit-payloads``: the payloads of many tasks, changed by a merge patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import (
    TASK_ID,
    confirm,
    examples,
    json_option,
    queue_option,
    read_json_object,
    type_option,
    yes_option,
)
from pgsched.cli.output import count, say_aside, say_done, say_json
from pgsched.cli.session import pass_client
from pgsched.domain.task_filters import SCHEDULE_TYPES, TaskFilters

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.db.queries.payload_edits import EditedPayloads

SHOWN_REFUSALS = 20
"""Refusals that are printed for people."""


@click.command(
    "edit-payloads", epilog=examples('pgsched task edit-payloads \'{"to": "ops@example.com"}\' --type mail --dry-run')
)
@click.argument("patch", metavar="PATCH", callback=read_json_object)
@type_option
@queue_option()
@click.option("--schedule-type", type=click.Choice(SCHEDULE_TYPES), help="Only with a schedule of this kind.")
@click.option("--tag", help="Only with this tag.")
@click.option("--tenant", "tenant_id", help="Only of this tenant.")
@click.option("--parent", "parent_id", type=TASK_ID, help="Only children of this task.")
@click.option("--contains", "payload", metavar="JSON", help="Only with a payload that contains this JSON object.")
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1_000,
    show_default=True,
    help="Maximum number of tasks in one transaction.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; print how many tasks would be changed.")
@yes_option
@json_option
@pass_client
def edit_payloads(
    client: Client,
    /,
    patch: dict[str, Any],
    task_type: str | None,
    queue: str | None,
    batch: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **more: Any,
) -> None:
    """Change the payloads of waiting tasks by a merge patch (RFC 7396): '{"cc": null, "size": {"width": 2}}'.

    PATCH is JSON, @FILE or - for stdin: its values are set, its nulls remove keys, and objects are merged. Pending and
    blocked tasks and schedules that match are changed, a batch at a time. A payload that would become invalid is left
    unchanged, and the exit code is then 1.
    """
    filters = TaskFilters(**{name: value for name, value in more.items() if value is not None})  # type: ignore[typeddict-item]
    if task_type is not None:
        filters["task_type"] = [task_type]
    if queue is not None:
        filters["queue"] = [queue]
    if not (dry_run or yes):
        would = client.edit_payloads(patch, batch=batch, dry_run=True, **filters)
        confirm(f"Change the payloads of {count(would.edited, 'task')}?", yes=yes)

    def progress(so_far: EditedPayloads) -> None:
        if so_far.next_before is not None and not dry_run:
            say_aside(f"{count(so_far.edited, 'payload')} changed so far")

    done = client.edit_payloads(patch, batch=batch, dry_run=dry_run, on_batch=progress, **filters)
    if as_json:
        refusals = [one._asdict() for one in done.refusals]
        say_json({"dry_run": dry_run, "edited": done.edited, "refused": done.refused, "refusals": refusals})
    else:
        for one in done.refusals[:SHOWN_REFUSALS]:
            click.echo(f"task {one.id}: {one.reason}", err=True)
        refused = f", {done.refused} refused" if done.refused else ""
        say_done(f"{count(done.edited, 'payload')} {'would be changed' if dry_run else 'changed'}{refused}")
    if done.refused:
        click.get_current_context().exit(1)
