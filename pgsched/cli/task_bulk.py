"""``pgsched task bulk``: one action on all matching tasks, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from pgsched.cli.options import confirm, examples, json_option, yes_option
from pgsched.cli.output import count, say, say_done, say_json
from pgsched.cli.progress import ProgressLine
from pgsched.cli.session import pass_client
from pgsched.cli.task_filters import filter_options, filters_of, in_words
from pgsched.db.queries.task_search import ACTIONS, MAX_CHANGED
from pgsched.domain.task_filters import TaskFilters

if TYPE_CHECKING:
    from pgsched.client.client import Client

DONE: Final = {
    "enable": "enabled",
    "disable": "disabled",
    "run": "run",
    "cancel": "cancelled",
    "retry": "retried",
    "delete": "deleted",
}


@click.command("bulk", epilog=examples("pgsched task bulk cancel --queue mail --tag newsletter --dry-run"))
@click.argument("action", type=click.Choice(ACTIONS))
@filter_options
@click.option("--dry-run", is_flag=True, help="Only report how many tasks would be changed.")
@json_option
@yes_option
@pass_client
def bulk(client: Client, /, action: str, dry_run: bool, as_json: bool, yes: bool, **given: Any) -> None:
    """Change all tasks that match the filters and allow the action.

    Each transaction changes up to 1,000 tasks. If the command is interrupted, run it again to continue.
    """
    filters = filters_of(given)
    if dry_run or not yes:
        tried = client.change_tasks(action, dry_run=True, **filters)
        number = f"more than {MAX_CHANGED}" if tried.more else len(tried.changed)
        if dry_run:
            if as_json:
                say_json({"action": action, "dry_run": True, "changed": len(tried.changed), "more": tried.more})
            else:
                say(f"{number} tasks would be {DONE[action]}")
            return
        if tried.changed or tried.more:
            confirm(f"{action.capitalize()} {number} tasks ({in_words(filters)})?", yes=False)
    changed = change(client, action, filters)
    if as_json:
        say_json({"action": action, "dry_run": False, "changed": changed, "more": False})
    else:
        say_done(f"{count(changed, 'task')} {DONE[action]}")


def change(client: Client, action: str, filters: TaskFilters) -> int:
    """Change the tasks in batches, show the progress and return their number."""
    with ProgressLine(f"tasks {DONE[action]}") as progress:
        for done in client.change_in_batches(action, **filters):
            progress(done.changed)
    return progress.done
