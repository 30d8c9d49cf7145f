"""``python -m tools.dst_conformance`` writes docs/dst_conformance.md: the ticks around clock changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pgsched.domain.scheduling.cron import load_zone, parse_cron
from tests.support.clock_changes import (
    A_STEP,
    CASES,
    CHANGES,
    CHOICES,
    CRONSIM_DIFFERS,
    CRONSIM_EXPRESSIONS,
    EXPRESSIONS,
    NEVER_RETURNS,
    PART_OF_AN_HOUR,
    SKIPPED_DAY,
    cronsim_ticks,
    forwards,
    minutes_around,
    rule_of,
)
from tests.support.processes import CHECKOUT

PAGE = CHECKOUT / "docs" / "dst_conformance.md"
SHOWN = timedelta(hours=4)
"""Ticks this close to a change are listed; all of the 60 hours are compared."""
REASONS = {"A": A_STEP, "B": PART_OF_AN_HOUR, "C": SKIPPED_DAY, "D": NEVER_RETURNS}
HOURS = 60


class Result(NamedTuple):
    """One expression at one clock change."""

    expression: str
    ticks: list[datetime]
    rule: list[datetime]
    """The oracle's ticks."""
    cronsim: list[datetime] | None
    """None: cronsim does not return, or lacks the options."""


@cache
def result(expression: str, zone: str, change: str) -> Result:
    table = minutes_around(zone, change)
    stuck = CRONSIM_DIFFERS.get((zone, change, expression)) == NEVER_RETURNS
    theirs = None if stuck or expression in CHOICES else cronsim_ticks(expression, zone, change)
    return Result(
        expression,
        forwards(parse_cron(expression), load_zone(zone), table[0][0], table[-1][0]),
        rule_of(expression, zone, change),
        theirs,
    )


def reason(expression: str, zone: str, change: str) -> str | None:
    """Return why cronsim differs; None where it has to agree."""
    known = CRONSIM_DIFFERS.get((zone, change, expression))
    if known is None and expression not in CRONSIM_EXPRESSIONS:
        found = result(expression, zone, change)
        known = A_STEP if found.cronsim != found.ticks else None
    return known


# The page.


def page() -> str:
    """Compute the whole page."""
    results = [(case, result(*case)) for case in CASES]
    right = sum(found.ticks == found.rule for _, found in results)
    compared = [(case, found) for case, found in results if found.expression in EXPRESSIONS]
    reasons = Counter(reason(*case) for case, found in compared if found.cronsim != found.ticks)
    lines = [
        "# Ticks around clock changes",
        "",
        f"{len(EXPRESSIONS) + len(CHOICES)} expressions at {len(CHANGES)} clock changes in "
        f"{len({zone for zone, _ in CHANGES})} zones: {len(CASES)} cases. A test,",
        "`tests/unit/domain/scheduling/test_dst_conformance.py`, fails when the program computes other ticks.",
        "The rule is in [schedules.md](schedules.md#daylight-saving).",
        "",
        "| compared with | description | agrees | differs |",
        "|---|---|---|---|",
        "| the rule | an oracle in the tests that tries every minute and shares no code with the program "
        f"| {right} | {len(results) - right} |",
        "| cronsim | another implementation, which mimics Debian's cron "
        f"| {len(compared) - reasons.total()} | {reasons.total()} |",
        "",
        "Expressions with options for skipped or repeated times are compared only with the rule: cronsim has no such",
        "options.",
        "",
        "Reasons for the differences of cronsim:",
        "",
        "| | cases | reason |",
        "|---|---|---|",
        *(f"| {letter} | {reasons[words]} | {words} |" for letter, words in REASONS.items()),
        "",
        f"The comparison covers the ticks of {HOURS} hours, 30 before and 30 after a time next to the change; the",
        f"column `ticks` counts them. The table lists those within {SHOWN // timedelta(hours=1)} hours of the change,",
        "in local time, with UTC in parentheses. *Fixed* and *rhythm* are the two kinds of the rule, *choice* means an",
        "option. If cronsim differs, `+` marks ticks that only cronsim has and `-` ticks that it lacks, in UTC.",
        "",
        "`python -m tools.dst_conformance` regenerates this page.",
        "",
    ]
    for zone, change in CHANGES:
        lines += [*_section(zone, change), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(zone: str, change: str) -> Iterator[str]:
    at, before, after = transition(zone, change)
    moved = after - before
    day = f"{at:%Y-%m-%d %H:%M} UTC"
    way = "forward" if moved > timedelta(0) else "back"
    to = f"{after:%H:%M}" if after.date() == before.date() else f"{after:%H:%M} of {after:%Y-%m-%d}"
    yield f"## {zone}, {day}"
    yield ""
    yield f"The clocks go {way} by {_span(abs(moved))}, from {before:%H:%M} of {before:%Y-%m-%d} to {to}."
    yield ""
    yield "| expression | kind | before the change | from the change on | ticks | as the rule | as cronsim |"
    yield "|---|---|---|---|---|---|---|"
    for expression in (*EXPRESSIONS, *CHOICES):
        found = result(expression, zone, change)
        kind = "choice" if expression in CHOICES else "fixed" if EXPRESSIONS[expression][2] else "rhythm"
        early = _told([tick for tick in found.ticks if at - SHOWN <= tick < at], zone)
        late = _told([tick for tick in found.ticks if at <= tick <= at + SHOWN], zone)
        agrees = "yes" if found.ticks == found.rule else "**no**"
        yield (
            f"| `{expression}` | {kind} | {early} | {late} | {len(found.ticks)} | {agrees} "
            f"| {'' if expression in CHOICES else _cronsim(found, reason(expression, zone, change))} |"
        )


def _told(ticks: list[datetime], zone: str) -> str:
    return ", ".join(f"{tick.astimezone(ZoneInfo(zone)):%H:%M} ({tick:%H:%M})" for tick in ticks) or "–"


def _cronsim(found: Result, why: str | None) -> str:
    if found.cronsim == found.ticks:
        return "yes"
    letter = next((letter for letter, words in REASONS.items() if words == why), "**unexplained**")
    if found.cronsim is None:
        return f"no: {letter}"
    only_theirs = [f"+{tick:%H:%M}" for tick in found.cronsim if tick not in found.ticks]
    only_ours = [f"-{tick:%H:%M}" for tick in found.ticks if tick not in found.cronsim]
    return f"no: {letter} ({' '.join(only_theirs + only_ours)})"


def _span(moved: timedelta) -> str:
    hours, minutes = divmod(moved // timedelta(minutes=1), 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))


def transition(zone: str, change: str) -> tuple[datetime, datetime, datetime]:
    """Return the instant of a clock change, and the wall-clock times before and after it."""
    minute = timedelta(minutes=1)
    for (_, before), (instant, wall) in pairwise(minutes_around(zone, change)):
        if wall - before != minute:
            return instant, before + minute, wall
    raise AssertionError(f"no clock change in {zone} around {change}")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
