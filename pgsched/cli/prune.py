"""``pgsched prune``: deletes finished tasks and old history now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from pgsched.cli.options import allow_short_option, confirm, examples, json_option, queue_option, yes_option
from pgsched.cli.output import JSON, TABLE, count, say, say_record, say_table
from pgsched.cli.session import pass_client
from pgsched.cli.settings import archive_option, goes, in_words
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import Pruned
from pgsched.ops.prune import PREVIEW_SECONDS, PruneOptions

if TYPE_CHECKING:
    from pgsched.client.client import Client

NUMBER = click.IntRange(0, 2**31 - 1)


@click.command(epilog=examples("pgsched prune --dry-run", "pgsched prune --completed-older-than 7d --yes"))
@queue_option("Only tasks of this queue, and no history.")
@click.option(
    "--completed-older-than",
    metavar="DURATION",
    help="Delete completed and cancelled tasks that ended longer ago than this.",
)
@click.option(
    "--completed-keep", metavar="N", type=NUMBER, help="Delete all completed and cancelled tasks except the latest N."
)
@click.option("--dead-older-than", metavar="DURATION", help="Delete dead tasks that died longer ago than this.")
@click.option("--dead-keep", metavar="N", type=NUMBER, help="Delete all dead tasks except the latest N.")
@click.option("--history-older-than", metavar="DURATION", help="Drop days of history that ended longer ago than this.")
@click.option(
    "--archive-dir",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Before deleting, write the tasks to compressed files in this folder.",
)
@archive_option
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@allow_short_option
@click.option("--max-seconds", metavar="SECONDS", type=float, help="Stop after this time; the next run continues.")
@json_option
@yes_option
@pass_client
def prune(client: Client, /, as_json: bool, yes: bool, **given: Any) -> None:
    """Delete finished tasks and old history.

    The settings say how long they are kept; options override them. Workers prune by themselves: use this command to
    prune now, or from a crontab.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if not yes and not given["dry_run"]:
        found = client.prune(**cast(PruneOptions, options | {"dry_run": True, "max_seconds": PREVIEW_SECONDS}))
        if goes(found):
            confirm(f"Delete {in_words(found)}?", yes=False)
    try:
        done = client.prune(**cast(PruneOptions, options))
    except OSError as error:
        raise PgschedError(f"--archive-dir {given['archive_dir']}: {error.strerror or error}") from None
    say_record(done, _say_pruned, output=JSON if as_json else TABLE)


def _say_pruned(done: Pruned) -> None:
    would = "would be " if done.dry_run else ""
    found = [one for one in done.queues if one.completed or one.cancelled or one.dead]
    say_table(("QUEUE", "COMPLETED", "CANCELLED", "DEAD"), found, empty=f"no tasks {would}deleted")
    if done.history or done.history_rows:
        rows = f", and {count(done.history_rows, 'row')} outside of any day" if done.history_rows else ""
        size = f"{done.history_bytes / 1_000_000:.1f} MB"
        say(f"{count(len(done.history), 'partition')} of the history {would}dropped ({size}){rows}")
    if done.kept:
        say(f"{count(done.kept, 'task')} kept: {done.kept_by or 'other tasks come first'}")
    if done.history_kept:
        say(f"not dropped, in use or depended on: {', '.join(done.history_kept)}")
    for path in done.files:
        say(f"written to {path}")
    if not done.complete:
        say("not complete: run it again")
