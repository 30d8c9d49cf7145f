"""The recording rules and alerts for Prometheus, with configurable thresholds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pgsched.domain.validation import MAX_INTEGER, Duration, interval_of, refused, whole
from pgsched.ops.doctor.words import age

_COUNT: Final = whole(1, MAX_INTEGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When alerts fire. Raises InvalidTask, naming the threshold, the value and the rule."""

    queue_depth: int = 5_000
    """PgschedQueueTooDeep: this many due tasks of a queue have been waiting for ten minutes."""
    queue_age: Duration = "5m"
    """PgschedQueueTooOld: a task of a queue has been due for longer than this."""
    start_delay: Duration = "30s"
    """PgschedStartsLate: 5 % of the tasks of a queue start later than this."""
    idle_for: Duration = "1h"
    """PgschedNothingExecutedWhileDue: tasks of a queue are due, but none has ended for this long."""
    failures_per_minute: int = 10
    """PgschedFailuresFrequent: this many attempts of a queue fail per minute, however many succeed."""
    failure_percent: int = 10
    """PgschedErrorRateHigh: more than this percentage of the attempts of a type fails."""
    dead_per_hour: int = 5
    """PgschedDeadLettersGrowing: this many tasks of a queue died within an hour."""

    def __post_init__(self) -> None:
        """Validate each threshold."""
        for name in ("queue_depth", "failures_per_minute", "dead_per_hour"):
            _COUNT(name, getattr(self, name))
        whole(1, 99)("failure_percent", self.failure_percent)
        for name in ("queue_age", "start_delay", "idle_for"):
            self.seconds(name)

    def seconds(self, name: str) -> int:
        """Return a threshold that is a duration, in whole seconds; at least one."""
        value: Duration = getattr(self, name)
        seconds = interval_of(name, value).seconds
        if seconds < 1 or seconds != int(seconds):
            raise refused(name, "be whole seconds, one at least", value)
        return int(seconds)


def rules(thresholds: Thresholds) -> str:
    """Return the rules file for Prometheus (``rule_files``): YAML, with these thresholds."""
    values = {
        "queue_depth": str(thresholds.queue_depth),
        "queue_depth_said": f"{thresholds.queue_depth:,}",
        "failures_per_minute": str(thresholds.failures_per_minute),
        "failure_share": f"{thresholds.failure_percent / 100:g}",
        "dead_per_hour": str(thresholds.dead_per_hour),
    }
    times = {name: thresholds.seconds(name) for name in ("queue_age", "start_delay", "idle_for")}
    values |= {name: str(seconds) for name, seconds in times.items()} | {"idle_for": _promql(times["idle_for"])}
    values |= {f"{name}_said": age(seconds) for name, seconds in times.items()}
    template = Path(__file__).with_name("alerts.yml").read_text(encoding="utf-8")
    return re.sub("<<([a-z_]+)>>", lambda found: values[found[1]], template)


def _promql(seconds: int) -> str:
    """A duration in Prometheus's notation, in its largest whole unit."""
    unit, size = next((unit, size) for unit, size in (("h", 3_600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"{seconds // size}{unit}"
