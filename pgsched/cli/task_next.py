"""``pgsched schedule next``: the next ticks of an expression, before anything is scheduled by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pgsched.cli.options import examples, output_option
from pgsched.cli.output import CSV, JSON, OUTPUTS, plain, say, say_csv, say_json, say_table
from pgsched.cli.session import pass_client
from pgsched.cli.times import instant, read_moment
from pgsched.domain.scheduling.preview import MAX_TICKS, explain, schedule_of, ticks_of

if TYPE_CHECKING:
    from pgsched.client.client import Client


@click.command("next", epilog=examples('pgsched schedule next "0 7 * * mon-fri" --timezone Europe/Berlin --explain'))
@click.argument("expression", metavar="[EXPR]", required=False)
@click.option("--every", metavar="DURATION", help="An interval instead of a cron expression: 15m, 1mo.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="The schedule's IANA time zone.")
@click.option(
    "--from", "from_", metavar="TIME", callback=read_moment, help="Only ticks after this time.  [default: now]"
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
@output_option(*OUTPUTS)
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
    output: str,
) -> None:
    """Show the next ticks of a cron expression or of --every. As JSON: an array of times in UTC.

    Connects to a database only for calendars, as in except=@holidays.
    """
    if (expression is None) == (every is None):
        raise click.UsageError("Give either a cron expression or --every.", click.get_current_context())
    after, start, end = (None if moment is None else instant(moment, timezone) for moment in (from_, start, end))
    calendars = client.calendar_days(expression)  # connects only for an expression that names a calendar
    schedule = schedule_of(expression, every=every, timezone=timezone, start=start, end=end, calendars=calendars)
    ticks = ticks_of(schedule, after=after or datetime.now(UTC), n=number)
    if output == JSON:
        instants = [tick.at for tick in ticks]
        say_json({"explanation": explain(schedule), "ticks": instants} if in_words else instants)
        return
    if output == CSV:
        say_csv([{"utc": tick.at, "local": tick.local, "note": tick.note} for tick in ticks])
        return
    if in_words:
        say(f"{explain(schedule)}\n")
    say_table(
        ("UTC", timezone, "CLOCK CHANGE"),
        [(plain(tick.at), tick.local.isoformat(sep=" "), tick.note) for tick in ticks],
        empty="no more ticks",
    )
