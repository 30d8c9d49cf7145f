"""``pgsched types``: what ended of each task type, from what workers have counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import option_group, queue_option
from pgsched.cli.output import Columns, span
from pgsched.cli.session import lists

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.counted import TypeStats

time_options = option_group(
    click.option("--within", metavar="DURATION", default="1h", show_default=True, help="How long back, 5m to 400d."),
    click.option("--ago", metavar="DURATION", help="The same time so long before: 1d is yesterday."),
    queue_option(),
)


def time(seconds: float | None) -> str | None:
    """Return a time in one unit; None: it is not known."""
    return None if seconds is None else span(seconds)


def percent(share: float | None) -> str | None:
    """Return a share in per cent."""
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


@click.command()
@click.argument("task_type", metavar="[TYPE]", required=False)
@time_options
@lists(COLUMNS, empty="nothing ended in this time; workers count once a minute")
def types(client: Client, task_type: str | None, **given: Any) -> list[TypeStats]:
    """Show throughput, failures, waits and durations of every task type.

    Workers count once a minute; the last minute may be missing. Waits are from due to start, of first attempts.
    """
    return client.type_stats(task_type, **given)
