"""``pgsched upcoming``: a timeline of the tasks that will run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pgsched.cli.options import examples, limit_option, queue_option
from pgsched.cli.output import say, say_aside, say_table
from pgsched.cli.session import shows
from pgsched.cli.times import shown_in

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.scheduling.timeline import Bucket, Timeline, UpcomingSchedule

_BARS: Final = " ▁▂▃▄▅▆▇█"
_WIDEST: Final = 96


def _in_words(found: Timeline) -> None:
    width = min(shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDEST, _WIDEST)
    columns = _columns(found, width)
    unit = "≤ " if max(columns, default=0) > 1 else ""
    say(f"{shown_in(found.since):%a %Y-%m-%d %H:%M %Z} to {shown_in(found.until):%a %Y-%m-%d %H:%M %Z}")
    more = "" if found.tasks_complete else "+"
    say(f"{found.runs} runs of {found.number_of_schedules} schedules, {found.tasks}{more} one-time tasks")
    if found.gap is not None:
        say(f"longest gap: {shown_in(found.gap.since):%a %H:%M} to {shown_in(found.gap.until):%a %H:%M}")
    for one in [one for one in found.buckets if one.pile_up or one.over][:5]:
        say(f"{shown_in(one.at):%a %H:%M}: {_said(one)}")
    say()
    say(f"{_bars(columns)}  {unit}{max(columns, default=0)}")
    say(_axis(found.buckets[0].at, found.until, len(columns)))
    say()
    rows = [
        (one.id, one.task_name or one.task_type, one.queue, one.state, _clock(one), one.runs, _track(found, one, 48))
        for one in found.schedules
    ]
    say_table(("ID", "SCHEDULE", "QUEUE", "STATE", "NEXT RUN", "RUNS", "WHEN"), rows, empty="no schedules")
    left = found.number_of_schedules - len(found.schedules)
    if left:
        say_aside(f"{left} more schedules: raise --limit")


def _said(one: Bucket) -> str:
    words = f"{one.runs} start at once" if one.pile_up else f"{one.runs} start"
    return f"{words}, more than the rate limit of {', '.join(one.over)} allows" if one.over else words


def _clock(one: UpcomingSchedule) -> str | None:
    return None if one.next_tick is None else f"{shown_in(one.next_tick):%a %H:%M:%S}"


def _columns(found: Timeline, width: int) -> list[int]:
    """The runs of each column of the bar: as many buckets as are needed to fit the width."""
    each = -(-len(found.buckets) // width)
    return [sum(one.runs for one in found.buckets[at : at + each]) for at in range(0, len(found.buckets), each)]


def _bars(values: Sequence[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // most)] for value in values)


def _axis(since: datetime, until: datetime, width: int) -> str:
    text = ""
    for place in range(0, max(width - 8, 1), 16):
        at = since + (until - since) * place / width
        text += f"{shown_in(at):%a %H:%M}".ljust(16)
    return text.rstrip()


def _track(found: Timeline, one: UpcomingSchedule, width: int) -> str:
    begin = found.buckets[0].at
    length = found.until - begin
    marks = ["·"] * width
    for since, until in one.bands:
        for place in range(int((since - begin) / length * width), -int((begin - until) / length * width // 1)):
            marks[min(max(place, 0), width - 1)] = "─"
    for at in one.ticks:
        place = int((max(at.astimezone(UTC), begin) - begin) / length * width)
        marks[min(place, width - 1)] = "█"
    return "".join(marks)


@click.command(epilog=examples("pgsched upcoming --within 7d --queue reports"))
@click.option(
    "--within", metavar="DURATION", default="24h", show_default=True, help="How far to look ahead: 1m to 31d."
)
@queue_option()
@limit_option(50)
@shows(_in_words)
def upcoming(client: Client, within: str, queue: str | None, limit: int) -> Timeline:
    """Show a timeline of the tasks that will run.

    It has the ticks of schedules, and the one-time tasks that are due later.
    """
    return client.upcoming_timeline(within, queue=queue, limit=limit)
