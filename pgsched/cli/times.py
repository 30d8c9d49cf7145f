"""Times on the command line: how options read them, and how tables show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import click

from pgsched.domain.errors import InvalidTask, InvalidTimezone
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.time_zones import instant_of, load_zone

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_FROM_NOW: Final = re.compile(r"(?:\+|in )\s*(\d.*[a-z])")
_BEFORE_NOW: Final = re.compile(r"-\s*(\d.*[a-z])|(\d.*[a-z])\s+ago")
_BARE: Final = re.compile(r"\d.*[a-z]")
LOCAL: Final = "local"
"""The name of the machine's own time zone."""


# Reading.


def read_moment(context: click.Context, parameter: click.Parameter, given: str | None) -> datetime | None:
    """Read an option's time: ISO 8601 (naive without an offset), ``now``, ``+2h``, ``in 2h``, ``-30m`` or ``30m ago``.

    Raises BadParameter for anything else.
    """
    return None if given is None else _read(context, parameter, given, past=False)


def read_past(context: click.Context, parameter: click.Parameter, given: str | None) -> datetime | None:
    """As :func:`read_moment`, but ``30m`` alone also means thirty minutes ago, as in the search language."""
    return None if given is None else _read(context, parameter, given, past=True)


def _read(context: click.Context, parameter: click.Parameter, given: str, *, past: bool) -> datetime:
    text = given.strip()
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        words = text.lower()
    now = datetime.now(UTC)
    try:
        if words == "now":
            return now
        if ahead := _FROM_NOW.fullmatch(words):
            return now + _elapsed(ahead[1])
        if ago := _BEFORE_NOW.fullmatch(words):
            return now - _elapsed(ago[1] or ago[2])
        if past and _BARE.fullmatch(words):
            return now - _elapsed(words)
    except (InvalidTask, OverflowError):
        pass
    how = "30m for thirty minutes ago" if past else "relative to now, as +2h or -30m"
    problem = f"{given!r} is not a time: write it in ISO 8601, as 2026-03-29T08:00Z, or {how}"
    raise click.BadParameter(problem, context, parameter)


def _elapsed(text: str) -> timedelta:
    return timedelta(seconds=Interval.parse(text).seconds)


def instant(moment: datetime, timezone: str | None) -> datetime:
    """Return the instant of a time; a naive one is wall-clock time in ``timezone``, or UTC if that is None."""
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return instant_of(moment, load_zone(timezone or "UTC"))
    except OverflowError:
        raise click.UsageError(f"{moment.isoformat()} is not between the years 1 and 9999 in UTC") from None


def read_zone(context: click.Context, parameter: click.Parameter, given: str | None) -> tzinfo | None:
    """Read the time zone in which times are shown; None means the machine's own zone."""
    if given == LOCAL:
        return None
    try:
        return UTC if given is None else load_zone(given)
    except InvalidTimezone as error:
        raise click.BadParameter(str(error), context, parameter) from None


# Showing.


def shown_in(at: datetime) -> datetime:
    """Return a time in the zone of ``--tz``; in UTC without it."""
    context = click.get_current_context(silent=True)
    session = None if context is None else context.find_root().obj
    return at.astimezone(getattr(session, "zone", UTC))


def moment(at: datetime, *, now: datetime | None = None) -> str:
    """Return a time to the second and its distance from now: ``2026-03-29T06:00:00Z (in 5 m)``.

    It is in UTC unless ``--tz`` names another zone; the text can be given to an option as it is.
    """
    try:
        exact = shown_in(at)
        distance = _distance(exact, now)
    except (OverflowError, ValueError):
        return str(at)
    return f"{exact.isoformat(timespec='seconds').replace('+00:00', 'Z')} ({distance})"


def _distance(at: datetime, now: datetime | None) -> str:
    seconds = (at - (now or datetime.now(UTC))).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size = span(abs(seconds))
    return f"in {size}" if seconds > 0 else f"{size} ago"


def span(seconds: float) -> str:
    """Return a duration in its largest unit, rounded down (``90`` is ``1 m``); below a second in ms."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{int(seconds // size)} {unit}"
