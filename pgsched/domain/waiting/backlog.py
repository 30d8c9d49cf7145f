"""Predicts when the backlog of a queue is drained: a line through the number of due tasks, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.records import Record

WINDOW_SECONDS: Final = 900.0
"""The age of the samples that count: the last quarter of an hour."""
LEAST_SAMPLES: Final = 3
LEAST_SECONDS: Final = 100.0
"""The minimum time from the first to the last of them."""
STEADY: Final = 0.02
"""A backlog that changes by less than this share of itself within ten minutes is steady."""
LONGEST_SECONDS: Final = 7 * 86_400.0
"""A backlog that would take longer than a week gets no prediction."""
GROWTH_SECONDS: Final = 600.0
GROWTH_LEAST: Final = 100
GROWTH_SHARE: Final = 0.1
OLD_SECONDS: Final = 60.0
"""A backlog is reported when it has grown for ten minutes, by 10 % and 100 tasks, and its oldest is a minute late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Record):
    """The number of due tasks at one moment."""

    at: datetime
    due: int
    exact: bool
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(Record):
    """The prediction for a backlog, if the trend of the last quarter of an hour continues."""

    kind: str
    """``empty``, ``drains``, ``steady``, ``grows``, or ``unknown`` when there are too few samples."""
    text: str
    due: int | None
    per_minute: float | None
    """The change in tasks per minute; negative when it shrinks."""
    seconds_low: float | None
    """Seconds until it is drained by the fastest of the observed rates;"""
    seconds_high: float | None
    """and by the slowest; None when it would not be drained at that rate."""


def forecast(samples: Sequence[Sample], now: datetime) -> Forecast:
    """Predict from samples in the order of their times."""
    recent = [one for one in samples if 0 <= (now - one.at).total_seconds() <= WINDOW_SECONDS]
    if not recent:
        return _said("unknown", "no forecast: workers have counted nothing within the last quarter of an hour")
    due = recent[-1].due
    span = (recent[-1].at - recent[0].at).total_seconds()
    if len(recent) < LEAST_SAMPLES or span < LEAST_SECONDS:
        return _said("unknown", "no forecast yet: there are too few samples", due=due)
    rates = [_slope(recent), _slope(recent[len(recent) // 2 - 1 :]), _slope(recent[: len(recent) // 2 + 1])]
    per_minute = rates[0] * 60
    if due == 0:
        return _said("empty", "nothing is due", due=0, per_minute=per_minute)
    if abs(rates[0]) * GROWTH_SECONDS < max(STEADY * due, 1.0):
        return _said("steady", "it neither grows nor shrinks", due=due, per_minute=per_minute)
    if rates[0] > 0:
        return _said("grows", f"it grows by about {_number(per_minute)} a minute", due=due, per_minute=per_minute)
    low = due / -min(rates)
    slowest = max(rates)
    high = due / -slowest if slowest < 0 else None
    if low > LONGEST_SECONDS:
        return _said("steady", "it shrinks, but would take more than a week", due=due, per_minute=per_minute)
    if high is None or high > LONGEST_SECONDS:
        text = f"it is drained in {_time(low)} at the earliest; it did not shrink all the time"
        return _said("drains", text, due=due, per_minute=per_minute, low=low)
    text = f"it is drained in {_range(low, high)}"
    return _said("drains", text, due=due, per_minute=per_minute, low=low, high=high)


def has_grown(samples: Sequence[Sample], now: datetime) -> float | None:
    """Return the growth in tasks per minute of a backlog that has grown for ten minutes and is worth a report."""
    recent = [one for one in samples if 0 <= (now - one.at).total_seconds() <= WINDOW_SECONDS]
    if len(recent) < LEAST_SAMPLES or (now - recent[-1].at).total_seconds() > 180:
        return None
    first, last = recent[0], recent[-1]
    seconds = (last.at - first.at).total_seconds()
    oldest = last.oldest_due_at
    late = 0.0 if oldest is None else (now - oldest).total_seconds()
    grown = last.due - first.due
    middle = recent[len(recent) // 2].due
    worth = grown >= max(GROWTH_LEAST, GROWTH_SHARE * first.due) and first.due <= middle <= last.due
    return _slope(recent) * 60 if seconds >= GROWTH_SECONDS and worth and late >= OLD_SECONDS else None


def _slope(samples: Sequence[Sample]) -> float:
    """Return tasks per second, by least squares."""
    times = [(one.at - samples[0].at).total_seconds() for one in samples]
    middle, height = sum(times) / len(times), sum(one.due for one in samples) / len(samples)
    spread = sum((time - middle) ** 2 for time in times)
    if not spread:
        return 0.0
    return sum((time - middle) * (one.due - height) for time, one in zip(times, samples, strict=True)) / spread


def _said(
    kind: str,
    text: str,
    *,
    due: int | None = None,
    per_minute: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Forecast:
    return Forecast(kind=kind, text=text, due=due, per_minute=per_minute, seconds_low=low, seconds_high=high)


def _range(low: float, high: float) -> str:
    fast, slow = _time(low), _time(high)
    return f"about {fast}" if fast == slow else f"{fast} to {slow}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.0f} days"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"
