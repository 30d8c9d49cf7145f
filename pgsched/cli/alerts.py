"""``pgsched alerts``: the rules for Prometheus, with thresholds of one's own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from pgsched.cli.options import Function
from pgsched.cli.output import say
from pgsched.ops.alerts import Thresholds, rules

_HELP = {
    "queue_depth": "So many tasks of a queue are due and wait.",
    "queue_age": "A task of a queue has waited for longer.",
    "start_delay": "One in twenty tasks of a queue starts later.",
    "idle_for": "Tasks of a queue are due, and nothing has ended in it for so long.",
    "failures_per_minute": "So many attempts of a queue fail a minute.",
    "failure_percent": "More of a hundred attempts of a type fail.",
    "dead_per_hour": "So many tasks of a queue died within an hour.",
}


def _thresholds(command: Function) -> Function:
    """An option for each threshold."""
    for one in reversed(fields(Thresholds)):
        command = click.option(
            f"--{one.name.replace('_', '-')}",
            metavar="N" if isinstance(one.default, int) else "DURATION",
            type=type(one.default),
            default=one.default,
            show_default=True,
            help=_HELP[one.name],
        )(command)
    return command


@click.command()
@_thresholds
def alerts(**given: Any) -> None:
    """Print recording rules and alerts for Prometheus; the options are thresholds.

    Save it as pgsched.rules.yml and name it under rule_files. Silence of single tasks has its limit on the task:
    alert_if_no_success_for.
    """
    say(rules(Thresholds(**given)).rstrip("\n"))
