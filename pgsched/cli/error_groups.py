"""``pgsched error``: the errors of attempts, grouped, and changes to all dead tasks of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import confirm, examples, limit_option, type_option, yes_option
from pgsched.cli.output import Columns, count, fields, say, say_done
from pgsched.cli.progress import ProgressLine
from pgsched.cli.session import lists, pass_client, shows
from pgsched.cli.types import time_options

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.counted import ErrorStats


def words_of(one: ErrorStats) -> str:
    """Return the exception and the message of an error, as a traceback ends."""
    return ": ".join(filter(None, (one.exception, one.message)))


COLUMNS: Columns = {
    "ID": "id",
    "NUMBER": "number",
    "LAST SEEN": "last_seen",
    "TYPES": lambda one: ", ".join(one.task_types),
    "TASK": "task_id",
    "ERROR": words_of,
}
id_argument = click.argument("id")


@click.group()
def error() -> None:
    """List errors in groups; retry or delete their dead tasks."""


@error.command("list", epilog=examples("pgsched error list --type invoice --within 1d"))
@type_option
@time_options
@limit_option(200)
@lists(COLUMNS, empty="no attempt failed in this time; workers count once a minute")
def list_(client: Client, **given: Any) -> list[ErrorStats]:
    """List groups of errors, the most frequent first.

    Two errors are in one group if they differ at most in numbers, ids, quoted text and times of the message.
    """
    return client.errors(**given)


def _in_words(one: ErrorStats) -> None:
    say(
        fields(
            [
                ("id", one.id),
                ("exception", one.exception or None),
                ("message", one.message),
                ("number", one.number),
                ("first seen", one.first_seen),
                ("last seen", one.last_seen),
                ("types", ", ".join(one.task_types)),
                ("queues", ", ".join(one.queues)),
                ("versions", ", ".join(one.versions) or None),
                ("example task", one.task_id),
            ]
        )
    )


@error.command()
@id_argument
@click.option(
    "--within", metavar="DURATION", default="90d", show_default=True, help="The length of the time to look at."
)
@shows(_in_words)
def show(client: Client, id: str, within: str) -> ErrorStats:
    """Show one group of errors."""
    return client.error(id, within=within)


@error.command()
@id_argument
@yes_option
@pass_client
def retry(client: Client, id: str, yes: bool) -> None:
    """Retry every dead task of a group of errors now, with its full number of attempts."""
    found = client.count_dead_of_error(id)
    if found:
        confirm(f"Run {count(found, 'dead task')} of this error again?", yes=yes)
    with ProgressLine("dead tasks retried", total=found) as progress:
        number = client.retry_error(id, on_progress=progress)
    say_done(f"{count(number, 'dead task')} will run again")


@error.command()
@id_argument
@yes_option
@pass_client
def delete(client: Client, id: str, yes: bool) -> None:
    """Permanently delete every dead task of a group of errors."""
    found = client.count_dead_of_error(id)
    if found:
        confirm(f"Delete {count(found, 'dead task')} of this error permanently?", yes=yes)
    with ProgressLine("dead tasks deleted", total=found) as progress:
        number = client.delete_error(id, on_progress=progress)
    say_done(f"{count(number, 'dead task')} deleted")
