"""``pgsched alerts``: rules for Prometheus, with custom thresholds."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from pgsched.cli.options import examples, option_group
from pgsched.cli.output import say
from pgsched.ops.alerts import Thresholds, rules

_HELP = {
    "queue_depth": "Number of due tasks waiting in a queue.",
    "queue_age": "Longest time that a due task of a queue has waited.",
    "start_delay": "95th percentile of a queue's start delay.",
    "idle_for": "Time without a finished attempt in a queue that has due tasks.",
    "failures_per_minute": "Failed attempts per minute in a queue.",
    "failure_percent": "Percentage of failed attempts of a task type.",
    "dead_per_hour": "Number of tasks of a queue that died within an hour.",
}


@click.command(epilog=examples("pgsched alerts --queue-age 5m > pgsched.rules.yml"))
@option_group(
    *(
        click.option(
            f"--{one.name.replace('_', '-')}",
            metavar="N" if isinstance(one.default, int) else "DURATION",
            default=one.default,
            show_default=True,
            help=_HELP[one.name],
        )
        for one in fields(Thresholds)
    )
)
def alerts(**given: Any) -> None:
    """Print alerting rules for Prometheus.

    The options are thresholds. Save the output as pgsched.rules.yml and list the file under rule_files. For a single
    task, set alert_if_no_success_for on the task instead.
    """
    say(rules(Thresholds(**given)).rstrip("\n"))
