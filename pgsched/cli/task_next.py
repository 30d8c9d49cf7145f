"""``pgsched task next``: when a schedule will fire; without a database, unless its calendars are there."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pgsched.cli.options import instant, json_option, read_moment
from pgsched.cli.output import say, say_json, say_table
from pgsched.cli.session import Session
from pgsched.domain.scheduling.preview import MAX_TICKS, explain, schedule_of, ticks_of


@click.command("next")
@click.argument("expression", metavar="[EXPR]", required=False)
@click.option("--every", metavar="DURATION", help="Instead of a cron expression: every so often, as 15m or 1mo.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="The IANA zone it is read in.")
@click.option(
    "--from", "from_", metavar="TIME", callback=read_moment, help="Ticks after this time (ISO 8601).  [default: now]"
)
@click.option("--start", metavar="TIME", callback=read_moment, help="No tick before; an interval is counted from here.")
@click.option("--end", metavar="TIME", callback=read_moment, help="No tick after.")
@click.option("-n", "--number", type=click.IntRange(1, MAX_TICKS), default=5, show_default=True, help="So many ticks.")
@click.option("--explain", "in_words", is_flag=True, help="Say in words what it means, and what the clocks do to it.")
@json_option
@click.pass_obj
def next_(
    session: Session,
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
    """Show the next ticks of a cron expression (or of --every). With --json: an array of UTC instants.

    Needs no database, except for the days of calendars, as except=@holidays.
    """
    if (expression is None) == (every is None):
        raise click.UsageError("Give either a cron expression or --every.", click.get_current_context())
    after, start, end = (None if moment is None else instant(moment, timezone) for moment in (from_, start, end))
    with session.client() as client:  # connects only for an expression that names a calendar
        calendars = client.calendar_days(expression)
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
        [(_utc(tick.at), tick.local.isoformat(sep=" "), tick.note) for tick in ticks],
        empty="never again",
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
