"""``pgsched type``: throughput, failures, waits and durations of task types, as workers have counted them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.names import completes
from pgsched.cli.options import examples, option_group, queue_option
from pgsched.cli.output import Columns
from pgsched.cli.session import lists
from pgsched.cli.times import span

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.counted import TypeStats

time_options = option_group(
    click.option(
        "--within",
        metavar="DURATION",
        default="1h",
        show_default=True,
        help="The length of the time to look at: 5m to 400d.",
    ),
    click.option("--ago", metavar="DURATION", help="Look at the same time this long ago: 1d is yesterday."),
    queue_option(),
)


def time(seconds: float | None) -> str | None:
    """Return a duration in one unit; None if it is unknown."""
    return None if seconds is None else span(seconds)


def percent(share: float | None) -> str | None:
    """Return a share as a percentage."""
    return None if share is None else f"{share:.1%}"


COLUMNS: Columns = {
    "TYPE": lambda one: one.task_type or "(others)",
    "PER SECOND": lambda one: round(one.per_second, 2),
    "PROCESSED": "processed",
    "FAILED": lambda one: percent(one.failed_share),
    "WAIT P50": lambda one: time(one.wait_p50),
    "WAIT P95": lambda one: time(one.wait_p95),
    "WAIT P99": lambda one: time(one.wait_p99),
    "RUN P50": lambda one: time(one.run_p50),
    "RUN P95": lambda one: time(one.run_p95),
    "RUN P99": lambda one: time(one.run_p99),
}


@click.group("type")
def type_() -> None:
    """List throughput, failures and durations of task types."""


@type_.command(
    "list", epilog=examples("pgsched type list --within 1d", "pgsched type list invoice --within 1h --ago 7d")
)
@click.argument("task_type", metavar="[TYPE]", required=False, shell_complete=completes("type"))
@time_options
@lists(COLUMNS, empty="no task ended in this time; workers count once a minute")
def list_(client: Client, task_type: str | None, **given: Any) -> list[TypeStats]:
    """List the numbers of every task type, or of one.

    Workers count once a minute, so the last minute may be missing. A wait is the time from due to start of a first
    attempt.
    """
    return client.type_stats(task_type, **given)
