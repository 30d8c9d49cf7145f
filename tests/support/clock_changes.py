"""Changes of the clocks, cron expressions to try there, and an oracle that tries every minute.

The oracle is written from the rule (see ``next_tick``) and shares no code with it. cronsim, which mimics
Debian's cron, must agree too, but for a list of differences.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from pgsched.domain.scheduling.cron import Cron, next_tick, previous_tick

MINUTE = timedelta(minutes=1)
EVERY_MINUTE = frozenset(range(60))
EVERY_HOUR = frozenset(range(24))

# A zone and a time (UTC) within hours of a change of its clocks. What happens there is in the comment.
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),  # 02:00 to 03:00
    ("Europe/Berlin", "2026-10-25T01:00"),  # 03:00 to 02:00
    ("Europe/London", "2026-03-29T01:00"),  # 01:00 to 02:00
    ("Europe/London", "2026-10-25T01:00"),  # 02:00 to 01:00
    ("Europe/Dublin", "2026-03-29T01:00"),  # negative daylight saving: standard time in summer
    ("Europe/Dublin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),  # 02:00 to 03:00
    ("America/New_York", "2026-11-01T06:00"),  # 02:00 to 01:00
    ("America/St_Johns", "2026-03-08T05:30"),  # a zone of half an hour
    ("America/St_Johns", "2010-11-07T02:31"),  # 00:01 to 23:01 of the day before
    ("America/Sao_Paulo", "2018-11-04T03:00"),  # 00:00 to 01:00: a day without a midnight
    ("America/Sao_Paulo", "2018-02-18T02:00"),  # 00:00 to 23:00 of the day before
    ("America/Havana", "2025-03-09T05:00"),  # 00:00 to 01:00
    ("America/Havana", "2025-11-02T05:00"),  # 01:00 to 00:00: two midnights
    ("America/Asuncion", "2023-10-01T04:00"),  # 00:00 to 01:00
    ("America/Caracas", "2016-05-01T07:00"),  # 02:30 to 03:00 for good
    ("Australia/Lord_Howe", "2026-10-03T15:30"),  # 02:00 to 02:30
    ("Australia/Lord_Howe", "2026-04-04T15:00"),  # 02:00 to 01:30
    ("Australia/Sydney", "2026-10-03T16:00"),
    ("Australia/Sydney", "2026-04-04T16:00"),
    ("Pacific/Chatham", "2026-09-26T14:00"),  # 02:45 to 03:45
    ("Pacific/Chatham", "2026-04-04T14:00"),  # 03:45 to 02:45
    ("Pacific/Apia", "2011-12-30T10:00"),  # the 30th of December is skipped
    ("Pacific/Kiritimati", "1995-01-01T10:00"),  # so is a day here
    ("Africa/Casablanca", "2026-02-15T02:00"),  # Ramadan: 03:00 to 02:00
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Africa/Cairo", "2026-04-23T22:00"),  # 00:00 to 01:00
    ("Asia/Beirut", "2026-03-28T22:00"),
    ("Asia/Gaza", "2026-10-23T23:00"),
    ("Asia/Pyongyang", "2018-05-04T15:00"),  # 23:30 to 00:00 of the next day, for good
    ("Antarctica/Troll", "2026-03-29T01:00"),  # two hours at once
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Antarctica/Casey", "2010-03-04T15:00"),  # three hours back
    ("Asia/Kathmandu", "1985-12-31T18:30"),  # a quarter of an hour, for good
]

# An expression, its minutes and hours, and whether it is fixed, all written by hand.
EXPRESSIONS: dict[str, tuple[frozenset[int], frozenset[int], bool]] = {
    "30 2 * * *": (frozenset({30}), frozenset({2}), True),
    "0 0 * * *": (frozenset({0}), frozenset({0}), True),
    "0 3 * * *": (frozenset({0}), frozenset({3}), True),
    "15,45 2 * * *": (frozenset({15, 45}), frozenset({2}), True),
    "0,30 0-4 * * *": (frozenset({0, 30}), frozenset(range(5)), True),
    "45 1,2,3,23 * * *": (frozenset({45}), frozenset({1, 2, 3, 23}), True),
    "0-59/20 2 * * *": (frozenset({0, 20, 40}), frozenset({2}), True),
    "10 0-23/2 * * *": (frozenset({10}), frozenset(range(0, 24, 2)), True),
    "*/20 2 * * *": (frozenset({0, 20, 40}), frozenset({2}), False),
    "*/30 * * * *": (frozenset({0, 30}), EVERY_HOUR, False),
    "0 * * * *": (frozenset({0}), EVERY_HOUR, False),
    "15 */2 * * *": (frozenset({15}), frozenset(range(0, 24, 2)), False),
    "*/15 0,1,2 * * *": (frozenset({0, 15, 30, 45}), frozenset({0, 1, 2}), False),
    "5/25 2 * * *": (frozenset({5, 30, 55}), frozenset({2}), False),
}

# The same with a choice of what runs: in a gap and in the passes of a fold.
CHOICES: dict[str, tuple[frozenset[int], frozenset[int], bool, set[int]]] = {
    "30 2 * * * skipped=skip": (frozenset({30}), frozenset({2}), False, {0}),
    "30 2 * * * repeated=second": (frozenset({30}), frozenset({2}), True, {1}),
    "0,30 0-4 * * * repeated=both": (frozenset({0, 30}), frozenset(range(5)), True, {0, 1}),
    "0 0 * * * skipped=skip repeated=second": (frozenset({0}), frozenset({0}), False, {1}),
    "*/20 2 * * * skipped=run": (frozenset({0, 20, 40}), frozenset({2}), True, {0, 1}),
    "*/30 * * * * repeated=first": (frozenset({0, 30}), EVERY_HOUR, False, {0}),
    "15 */2 * * * skipped=run repeated=second": (frozenset({15}), frozenset(range(0, 24, 2)), True, {1}),
}

CASES = [(expression, zone, change) for zone, change in CHANGES for expression in (*EXPRESSIONS, *CHOICES)]

A_STEP = "pgsched treats an open-ended step `a/n` as a rhythm, like `*/n`; cronsim treats it as a fixed time"
CRONSIM_EXPRESSIONS = [expression for expression in EXPRESSIONS if "5/25" not in expression]
# All other differences, each explained:
SKIPPED_DAY = "cronsim runs the ticks of a skipped day at its end; Debian's cron treats the gap as a correction"
PART_OF_AN_HOUR = "cronsim advances by whole hours, and loses ticks if the clocks move by a part of an hour"
NEVER_RETURNS = "cronsim advances by whole hours, and loops forever if the clocks move at 00:01"
FIXED = [
    expression
    for expression, (minutes, hours, fixed) in EXPRESSIONS.items()
    if fixed and not (0 in minutes and 0 in hours)  # at midnight, where the skipped day ends, these run anyway
]
CRONSIM_DIFFERS = {
    **{("Pacific/Apia", "2011-12-30T10:00", expression): SKIPPED_DAY for expression in FIXED},
    **{("Pacific/Kiritimati", "1995-01-01T10:00", expression): SKIPPED_DAY for expression in FIXED},
    ("America/St_Johns", "2010-11-07T02:31", "15 */2 * * *"): NEVER_RETURNS,
    ("America/St_Johns", "2010-11-07T02:31", "*/15 0,1,2 * * *"): NEVER_RETURNS,
    ("America/Caracas", "2016-05-01T07:00", "0 * * * *"): PART_OF_AN_HOUR,
    ("Australia/Lord_Howe", "2026-04-04T15:00", "*/20 2 * * *"): PART_OF_AN_HOUR,
    ("Australia/Lord_Howe", "2026-04-04T15:00", "15 */2 * * *"): PART_OF_AN_HOUR,
    ("Pacific/Chatham", "2026-04-04T14:00", "*/15 0,1,2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "0 * * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "15 */2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Pyongyang", "2018-05-04T15:00", "*/15 0,1,2 * * *"): PART_OF_AN_HOUR,
    ("Asia/Kathmandu", "1985-12-31T18:30", "*/20 2 * * *"): PART_OF_AN_HOUR,
}


@cache
def minutes_around(zone: str, change: str) -> list[tuple[datetime, datetime]]:
    """Every minute of the 30 hours before and after a change, as instant and wall-clock time."""
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    known = ZoneInfo(zone)
    instants = [at + n * MINUTE for n in range(-30 * 60, 30 * 60)]
    return [(instant, instant.astimezone(known).replace(tzinfo=None, fold=0)) for instant in instants]


def oracle(
    minutes: frozenset[int], hours: frozenset[int], runs_skipped: bool, passes: set[int], zone: str, change: str
) -> list[datetime]:
    """The ticks around a change, found by trying every minute; ``passes`` of what comes twice: 0 and 1."""
    table = minutes_around(zone, change)
    often = Counter(wall for _, wall in table)
    ticks: list[datetime] = []
    seen: Counter[datetime] = Counter()
    for (_, before), (instant, wall) in zip([table[0], *table], table, strict=False):
        skipped = wall - before - MINUTE
        if runs_skipped and timedelta(0) < skipped <= timedelta(hours=3):
            jumped = [before + n * MINUTE for n in range(1, skipped // MINUTE + 1)]
            if any(missing.minute in minutes and missing.hour in hours for missing in jumped):
                ticks.append(instant)
        is_wanted = often[wall] == 1 or seen[wall] in passes
        if wall.minute in minutes and wall.hour in hours and is_wanted and instant not in ticks[-1:]:
            ticks.append(instant)
        seen[wall] += 1
    return ticks


def rule_of(expression: str, zone: str, change: str) -> list[datetime]:
    """The ticks of an expression of the table around a change, by the oracle."""
    if expression in CHOICES:
        return oracle(*CHOICES[expression], zone, change)
    minutes, hours, fixed = EXPRESSIONS[expression]
    return oracle(minutes, hours, fixed, {0} if fixed else {0, 1}, zone, change)


def forwards(cron: Cron, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    tick = next_tick(cron, zone, start - timedelta(seconds=1))
    while tick is not None and tick <= end:
        ticks.append(tick)
        tick = next_tick(cron, zone, tick)
    return ticks


def backwards(cron: Cron, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    tick = previous_tick(cron, zone, end)
    while tick is not None and tick >= start:
        ticks.insert(0, tick)
        tick = previous_tick(cron, zone, tick - timedelta(microseconds=1))
    return ticks


def cronsim_ticks(expression: str, zone: str, change: str) -> list[datetime]:
    """The ticks around a change by cronsim. Does not return where CRONSIM_DIFFERS says so."""
    table = minutes_around(zone, change)
    start, end = table[0][0], table[-1][0]
    theirs: list[datetime] = []
    for tick in CronSim(expression, (start - MINUTE / 2).astimezone(ZoneInfo(zone))):
        instant = tick.astimezone(UTC)
        if instant > end:
            break
        theirs.append(instant)
    return theirs
