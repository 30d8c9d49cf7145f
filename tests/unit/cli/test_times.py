"""Times as options: ISO 8601, and relative to now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
import pytest

from pgsched.cli.session import Session
from pgsched.cli.times import moment, read_moment, read_past, read_zone

OPTION = click.Option(["--at"])
CONTEXT = click.Context(click.Command("add"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("+2h", 7200),
        ("+ 90s", 90),
        ("in 2h", 7200),
        ("IN 1h30m", 5400),
        ("-30m", -1800),
        ("30m ago", -1800),
        ("1d ago", -86_400),
    ],
)
def test_relative_time_is_counted_from_now(text: str, seconds: float) -> None:
    found = read_moment(CONTEXT, OPTION, text)
    assert found is not None
    assert abs(found - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=60)


@pytest.mark.parametrize("text", ["2026-03-29", "2026-03-29T08:00", "2026-03-29T08:00Z", "2026-03-29T08:00+02:00"])
def test_absolute_time_is_iso_8601(text: str) -> None:
    assert read_moment(CONTEXT, OPTION, text) == datetime.fromisoformat(text)


def test_duration_alone_is_in_the_past_for_filters_only() -> None:
    found = read_past(CONTEXT, OPTION, "2h")
    assert found is not None
    assert abs(datetime.now(UTC) - found - timedelta(hours=2)) < timedelta(seconds=60)
    with pytest.raises(click.BadParameter, match=r"'2h' is not a time: .*as \+2h or -30m"):
        read_moment(CONTEXT, OPTION, "2h")


@pytest.mark.parametrize("text", ["", "soon", "tomorrow", "+", "+2", "+2 fortnights", "-", "ago", f"+{10**8}d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        read_moment(CONTEXT, OPTION, text)


def test_time_is_shown_in_the_zone_of_the_session_and_can_be_given_again() -> None:
    at = datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
    with click.Context(click.Command("list"), obj=Session(zone=ZoneInfo("Europe/Berlin"))):
        shown = moment(at, now=at)
    assert shown == "2026-03-29T08:00:00+02:00 (now)"
    assert read_moment(CONTEXT, OPTION, shown.split()[0]) == at


def test_zone_is_a_name_or_local() -> None:
    assert read_zone(CONTEXT, OPTION, "Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert read_zone(CONTEXT, OPTION, "local") is None
    with pytest.raises(click.BadParameter, match="Atlantis"):
        read_zone(CONTEXT, OPTION, "Atlantis/Capital")
