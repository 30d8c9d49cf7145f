"""``pgsched task next``: when a schedule will fire; needs a database only for calendars."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pgsched.cli.options import instant, json_option, read_moment
from pgsched.cli.output import plain, say, say_json, say_table
from pgsched.cli.session import pass_client
from pgsched.domain.scheduling.preview import MAX_TICKS, explain, schedule_of, ticks_of

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command("next")
@click.argument("expression", metavar="[EXPR]", required=False)
@click.option("--every", metavar="DURATION", help="An interval instead of a cron expression: 15m, 1mo.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="The schedule's IANA time zone.")
@click.option(
    "--from", "from_", metavar="TIME", callback=read_moment, help="Ticks after this time (ISO 8601).  [default: now]"
)
@click.option(
    "--start", metavar="TIME", callback=read_moment, help="No tick before this time; intervals are counted from it."
)
@click.option("--end", metavar="TIME", callback=read_moment, help="No tick after this time.")
@click.option(
    "-n", "--number", type=click.IntRange(1, MAX_TICKS), default=5, show_default=True, help="Number of ticks to show."
)
@click.option(
    "--explain", "in_words", is_flag=True, help="Explain the schedule in words, and how clock changes affect it."
)
@json_option
@pass_client
def next_(
    client: Client,
    expression: str | None,
    every: str | None,
    timezone: str,
    from_: datetime | None,
    start: datetime | None,
    end: datetime | None,
    number: int,
    in_words: bool,
    as_json: bool,
) -> None:
    """Show the next ticks of a cron expression or of --every. With --json: an array of UTC instants.

    Needs a database only for calendars, as in except=@holidays.
    """
    if (expression is None) == (every is None):
        raise click.UsageError("Give either a cron expression or --every.", click.get_current_context())
    after, start, end = (None if moment is None else instant(moment, timezone) for moment in (from_, start, end))
    calendars = client.calendar_days(expression)  # connects only for an expression that names a calendar
    schedule = schedule_of(expression, every=every, timezone=timezone, start=start, end=end, calendars=calendars)
    ticks = ticks_of(schedule, after=after or datetime.now(UTC), n=number)
    if as_json:
        instants = [tick.at for tick in ticks]
        say_json({"explanation": explain(schedule), "ticks": instants} if in_words else instants)
        return
    if in_words:
        say(f"{explain(schedule)}\n")
    say_table(
        ("UTC", timezone, "THE CLOCKS"),
        [(plain(tick.at), tick.local.isoformat(sep=" "), tick.note) for tick in ticks],
        empty="never again",
    )
