"""``pgsched task export``: all matching tasks, as CSV or JSON lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import examples
from pgsched.cli.session import pass_client
from pgsched.cli.task_filters import filter_options, filters_of
from pgsched.domain.task_export import FORMATS, lines_of

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command("export", epilog=examples("pgsched task export --status dead --since 7d > dead.csv"))
@filter_options
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), default="csv", show_default=True, help="CSV or JSON lines."
)
@pass_client
def export(client: Client, /, kind: str, **given: Any) -> None:
    """Write all tasks that match the filters to stdout, the latest first, without a limit.

    In CSV, text that a spreadsheet would read as a formula begins with an apostrophe.
    """
    head, line_of = lines_of(kind)
    out = sys.stdout.buffer
    out.write(head.encode())
    for task in client.iter_tasks(**filters_of(given)):
        out.write(line_of(task.as_dict()).encode())
