"""The ticks that SQL computes are those of Python, and SQL reads of cron expressions what Python reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from random import Random
from typing import Any, TypeVar

import psycopg
import pytest

from pgsched.domain.errors import InvalidCron
from pgsched.domain.scheduling.cron import next_tick, parse_cron
from pgsched.domain.scheduling.interval_grid import Grid
from pgsched.domain.scheduling.recurrence import LAST, Schedule, first_tick
from pgsched.domain.scheduling.time_zones import change_between, load_zone
from tests.support import crons
from tests.support.clock_changes import CASES, minutes_around
from tests.support.tables import database

T = TypeVar("T")
Connection = psycopg.Connection[dict[str, Any]]

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

EXPRESSIONS = [
    "* * * * *", "*/5 * * * *", "0 8 * * mon-fri", "0 8 * * 5L", "0 8 * * friL", "0 8 * * L5", "0 8 * * mon#2",
    "0 8 L * *", "0 8 ? * mon", "0 8 1 * ?", "0 8 1,15 * *", "15,45 2 * * *", "0 1-5/2 * jan-mar *", "@daily",
    " @Hourly ", "0 0 1 JAN *", "5/20 * * * *", "*/10 * * * * *", "0 0 8 * * 1", "* * * * * sun",
    "0 8 * * fri-sun", "0 8 * * 6-7", "0 8 * * 0,7", "59 23 31 12 7", "\t0 8 * * *\n", "", "   ", "* * * *",
    "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
    "? * * * *", "* ? * * *", "mon#l * * * *", "0 8 * * mon#l", "0 8 * * mon#6", "0 8 * * #2", "0 8 * * L",
    "22-6 * * * *", "0 22-6 * * *", "*/0 * * * *", "*/90 * * * *", "*/x * * * *", "*/ * * * *", "1- * * * *",
    "-1 * * * *", "1,,2 * * * *", ", * * * *", "1-2-3 * * * *", "@reboot", "@fortnightly", "H * * * *",
    "R * * * *", "0 8 15W * *", "0 8 * foo *", "0 8 * * funday", "* * * * * 0", "*/5 * * * * 1-5",
    "99999999999 * * * *", "0 8 l-2 * *", "1.5 * * * *", "0 8 * * fri-mon", "0 8 * * 5-1",
    "0 0 1 nov *", "0 0 1 Oct-NOV *", "0\v8 * * *\v",
    "0 8 13 * fri days=both", "0 0 29 2 * except=02-29", "0 0 29 2 mon days=both weeks=52@2030-01-07",
    "0 0 1 1 * except=01-01 instead=workday",
    "0 0 1 1 * instead=workday except=" + ",".join(f"0{month}-{day:02}" for month in (1, 2) for day in range(1, 29)),
]  # fmt: skip


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(values)
    while batch := list(islice(left, size)):
        yield batch


def problem_of(expression: str) -> str | None:
    """The rule of Python's that an expression breaks."""
    try:
        parse_cron(expression)
    except InvalidCron as refused:
        shown = expression if len(expression) <= 200 else expression[:60] + "…"
        return str(refused).removeprefix(f'cron expression "{shown}": ')
    return None


def test_sql_and_python_read_these_expressions_alike(dsn: str) -> None:
    problems = [problem_of(expression) for expression in EXPRESSIONS]
    assert 10 < problems.count(None) < len(problems) - 10
    with database(dsn) as db:
        rows = db.execute(
            "select pgsched.cron_problem(text) as problem"
            " from unnest(%s::text[]) with ordinality as u(text, n) order by n",
            (EXPRESSIONS,),
        )
        assert [row["problem"] for row in rows] == problems


def compare_texts(dsn: str, count: int, seed: int) -> None:
    random = Random(seed)
    with database(dsn) as db:
        readable = 0
        for texts in batched((crons.text(random).replace("\0", "") for _ in range(count)), 1000):
            rows = db.execute(
                "select text, pgsched.cron_problem(text) as problem from unnest(%s::text[]) as text", (texts,)
            )
            for row in rows:
                if "pgsched.calendars" in (row["problem"] or ""):
                    continue  # what Python cannot know
                assert row["problem"] == problem_of(row["text"]), row["text"]
                readable += row["problem"] is None
    assert 0.1 < readable / count < 0.9


def test_sql_and_python_read_the_same_expressions(dsn: str) -> None:
    compare_texts(dsn, 4_000, seed=1)


@pytest.mark.long
def test_sql_and_python_read_the_same_expressions_always(dsn: str) -> None:
    compare_texts(dsn, 150_000, seed=2)


@pytest.mark.parametrize(
    "expression",
    [
        "0\u30008 * * *", "0\u00a08 * * *", "0 8 * * 7/2", "0 8 * * 1#2#3", "1-5,0/10 * * * * 1", "0 0 31 2 *",
        "0 0 31 4,6,9,11 *", "0 0 */31 * mon#2", "0 0 L-30 2 *", "0 0 31w 4 *", "@wee\u212aly", "0 8 * * \u0131",
    ],
)  # fmt: skip
def test_an_insert_refuses_what_python_refuses(dsn: str, expression: str) -> None:
    problem = problem_of(expression)
    assert problem is not None
    with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("insert into pgsched.tasks (task_type, cron_expression) values ('mail', %s)", (expression,))
    assert refused.value.diag.message_primary is not None
    assert refused.value.diag.message_primary.endswith(": " + problem)
    assert refused.value.diag.column_name == "cron_expression"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_ticks_at_changes_of_the_clocks_are_those_of_python(dsn: str, part: int) -> None:
    with database(dsn) as db:
        for expression, zone, change in CASES[part::4]:
            table = minutes_around(zone, change)
            first, last = table[0][0], table[-1][0]
            if not agree(db, zone, first, last):
                continue
            found = ticks_of(db, expression, zone, first, 130)
            assert [tick for tick in found if tick < last] == list(python_ticks(expression, zone, first, last)), (
                zone,
                change,
                expression,
            )


@pytest.mark.parametrize("seed", range(3))
def test_the_ticks_of_random_schedules_are_those_of_python(dsn: str, seed: int) -> None:
    compare_ticks(dsn, 1_000, seed)


@pytest.mark.long
def test_the_ticks_of_random_schedules_are_those_of_python_always(dsn: str) -> None:
    compare_ticks(dsn, 100_000, seed=100)


def compare_ticks(dsn: str, count: int, seed: int) -> None:
    random = Random(seed)
    zones = set()
    compared = 0
    with database(dsn) as db:
        for cases in batched(cron_cases(random, count), 500):
            expressions, names, moments = (list(column) for column in zip(*cases, strict=True))
            rows = db.execute(
                """
                select c.expression, c.zone, c.moment,
                  array(select pgsched.next_ticks(c.expression, c.zone, c.moment, 3)) as ticks
                from unnest(%s::text[], %s::text[], %s::timestamptz[]) as c(expression, zone, moment)
                """,
                (expressions, names, moments),
            )
            for row in rows.fetchall():
                expected = list(islice(python_ticks(row["expression"], row["zone"], row["moment"], LAST), 3))
                if row["ticks"] != expected and not agree(db, row["zone"], row["moment"], *expected, *row["ticks"]):
                    continue
                assert row["ticks"] == expected, (row["expression"], row["zone"], row["moment"])
                zones.add(row["zone"])
                compared += 1
    assert len(zones) >= 12
    assert compared > 0.9 * count


def cron_cases(random: Random, count: int) -> Iterator[tuple[str, str, datetime]]:
    """Readable expressions, with zones and instants that are often near a change of the clocks."""
    while count:
        expression, zone, moment = crons.expression(random), random.choice(crons.ZONES), crons.instant(random)
        if problem_of(expression) is not None:
            continue
        if random.random() < 0.6 and (change := next_change(zone, moment)) is not None:
            moment = crons.near(random, change)
        yield expression, zone, moment
        count -= 1


def next_change(zone: str, moment: datetime) -> datetime | None:
    known = load_zone(zone)
    for _ in range(14):
        later = moment + timedelta(days=30)
        if (change := change_between(known, moment, later)) is not None:
            return change
        moment = later
    return None


def test_the_ticks_of_random_intervals_are_those_of_python(dsn: str) -> None:
    compare_intervals(dsn, 2_000, seed=1)


@pytest.mark.long
def test_the_ticks_of_random_intervals_are_those_of_python_always(dsn: str) -> None:
    compare_intervals(dsn, 50_000, seed=2)


def compare_intervals(dsn: str, count: int, seed: int) -> None:
    random = Random(seed)
    compared = 0
    with database(dsn) as db:
        for _ in range(count):
            zone, origin, step = random.choice(crons.ZONES), crons.instant(random), crons.interval(random)
            if random.random() < 0.5 and (change := next_change(zone, origin)) is not None:
                origin = crons.near(random, change)
            after = origin + timedelta(seconds=random.choice([-1, 1]) * 10 ** random.uniform(0, 9))
            grid = Grid(origin, step, load_zone(zone))
            index = grid.index_from(after + timedelta(microseconds=1))
            expected = [tick for k in range(3) if (tick := grid.point(index + k)) is not None and tick < LAST]
            rows = db.execute(
                "select pgsched.next_interval_ticks(%s, %s, %s, %s, 3) as tick", (step.to_text(), zone, origin, after)
            )
            found = [row["tick"] for row in rows]
            # Points may coincide at the end of a gap, and are one tick.
            expected = sorted(set(expected))
            if found[: len(expected)] != expected and not agree(db, zone, origin, *expected, *found):
                continue
            assert found[: len(expected)] == expected, (zone, origin, step, after)
            compared += 1
    assert compared > 0.9 * count


def test_the_first_tick_of_a_row_is_that_of_python(dsn: str) -> None:
    random = Random(1)
    kinds = {"none": 0, "cron": 0, "repeating": 0}
    with database(dsn) as db:
        for _ in range(1_500):
            start = crons.instant(random) if random.random() < 0.5 else None
            moment = crons.near(random, start or crons.instant(random))
            end = moment + timedelta(days=random.uniform(0, 400)) if random.random() < 0.5 else None
            is_cron = random.random() < 0.5
            expression = crons.expression(random) if is_cron else None
            if expression is not None and problem_of(expression) is not None:
                continue
            step = None if is_cron else crons.interval(random)
            schedule = Schedule(expression, random.choice(crons.ZONES), start, end, step, None, "once", None)
            row = db.execute(
                """
                select pgsched.first_tick(jsonb_populate_record(null::pgsched.tasks, jsonb_build_object(
                  'cron_expression', %s::text, 'timezone', %s::text, 'start_date', %s::timestamptz,
                  'end_date', %s::timestamptz, 'repeat_interval', %s::interval)), %s) as tick
                """,
                (expression, schedule.timezone, start, end, step and step.to_text(), moment),
            ).fetchone()
            assert row is not None
            expected = first_tick(schedule, moment)
            if row["tick"] != expected and not agree(db, schedule.timezone, moment, *{expected, row["tick"]} - {None}):
                continue
            assert row["tick"] == expected, (schedule, moment)
            kinds["none" if expected is None else "cron" if is_cron else "repeating"] += 1
    assert min(kinds.values()) > 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("0 8 * *",), "cron expression '0 8 * *': must have 5 fields"),
        (("0 8 * * *", "Mars/Olympus"), "timezone must be a name of the IANA time zone database, got 'Mars/Olympus'"),
        (("0 8 * * *", "UTC", NOON, 0), "count must be between 1 and 10000, got 0"),
        (("0 8 * * *", "UTC", NOON, 10_001), "count must be between 1 and 10000, got 10001"),
    ],
)
def test_next_ticks_refuses_what_makes_no_sense(dsn: str, arguments: tuple[Any, ...], words: str) -> None:
    marks = ", ".join(["%s"] * len(arguments))
    with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute(f"select pgsched.next_ticks({marks})", arguments)
    assert words in str(refused.value)


def test_next_ticks_leaves_the_settings_of_the_session_alone(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("set timezone = 'Asia/Tokyo'")
        (tick,) = ticks_of(db, "0 8 * * *", "Europe/Berlin", NOON, 1)
        assert tick == NOON.replace(day=2, hour=6)
        assert db.execute("show timezone").fetchall() == [{"TimeZone": "Asia/Tokyo"}]


def test_there_is_no_tick_beyond_the_year_9999(dsn: str) -> None:
    with database(dsn) as db:
        late = datetime(9999, 12, 30, 12, tzinfo=UTC)
        assert ticks_of(db, "0 8 * * *", "Asia/Tokyo", late, 5) == [late.replace(hour=23)]
        assert ticks_of(db, "0 8 31 12 *", "UTC", late, 5) == []
        infinite = "select pgsched.next_ticks('* * * * *', 'UTC', 'infinity') as tick"
        assert db.execute(infinite).fetchall() == []
        infinite = "select pgsched.next_ticks('* * * * *', 'UTC', '-infinity') as tick"
        assert len(db.execute(infinite).fetchall()) == 5


def ticks_of(db: Connection, expression: str, zone: str, after: datetime, count: int) -> list[datetime]:
    rows = db.execute("select pgsched.next_ticks(%s, %s, %s, %s) as tick", (expression, zone, after, count))
    return [row["tick"] for row in rows]


def python_ticks(expression: str, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    cron, known = parse_cron(expression), load_zone(zone)
    tick = next_tick(cron, known, after)
    while tick is not None and tick < until:
        yield tick
        tick = next_tick(cron, known, tick)


def agree(db: Connection, zone: str, *moments: datetime) -> bool:
    """Whether the server's rules of a zone are Python's, around these instants and from the first to the last."""
    return all(_agree(db, zone, moment.date().isoformat()) for moment in moments)


@cache
def _agree(db: Connection, zone: str, day: str) -> bool:
    known, noon = load_zone(zone), datetime.fromisoformat(day).replace(tzinfo=UTC)
    moments = [noon + timedelta(hours=hours) for hours in range(-72, 73)]
    with db.transaction():
        db.execute("select set_config('timezone', %s, true)", (zone,))
        rows = db.execute(
            "select extract(epoch from m::timestamp - timezone(interval '0', m))::int as shift"
            " from unnest(%s::timestamptz[]) as m",
            (moments,),
        )
        return [row["shift"] for row in rows] == [
            (moment.astimezone(known).utcoffset() or timedelta()) // timedelta(seconds=1) for moment in moments
        ]
