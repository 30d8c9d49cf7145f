"""What the worker protocol decides in SQL is what the Python worker decides: backoff, and missed ticks."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from pgsched.domain.backoff import KINDS, retry_delay
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.recurrence import COUNT_LIMIT, Schedule, admit, due_at
from tests.support.tables import database

EXPRESSIONS = (
    *("* * * * *", "*/7 * * * *", "0 3 * * *", "30 2 * * *", "0 0 31 * *", "15 4 29 2 *", "0 9-17 * * mon-fri"),
    *("*/20 30 4 * * *", "0 0 1 1 *", "30 1 * * * repeated=both"),
)
STEPS = (
    *(Interval(microseconds=1_000_000), Interval(microseconds=5_400_000_000), Interval(days=1), Interval(months=1)),
    Interval(months=1, days=2, microseconds=3_600_000_000),
)
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe")
SPANS = (5, 60, 3_000, 90_000, 4_000_000, 90_000_000)
"""Seconds between a tick and the look at it, about."""


def test_the_delay_of_a_retry_is_that_of_the_python_worker(dsn: str) -> None:
    random = Random(46)
    cases = []
    for _ in range(400):
        delay = random.choice([0.0, 0.5, 5.0, random.uniform(0, 90_000)])
        cases.append(
            {
                "kind": random.choice(KINDS),
                "attempt": random.choice([1, 2, 3, 10, random.randint(1, 2000)]),
                "delay": delay,
                "longest": random.choice([0.0, 3600.0, random.uniform(0, 90_000)]),
                "chance": random.random(),
                "factor": random.choice([1.0, 1.5, 2.0, 10.0]),
                "jitter": random.choice([0.0, 0.2, 1.0]),
            }
        )
    with database(dsn) as connection:
        rows = connection.execute(
            """
            select pgsched.retry_delay(c.kind, c.attempt, c.delay, c.longest, c.chance, c.factor, c.jitter) as delay
            from jsonb_to_recordset(%s::jsonb) as c(kind text, attempt integer, delay float8, longest float8,
              chance float8, factor float8, jitter float8)
            """,
            (json.dumps(cases),),
        ).fetchall()
    for case, row in zip(cases, rows, strict=True):
        chance = float(case["chance"])  # type: ignore[arg-type]
        expected = retry_delay(
            case["kind"],  # type: ignore[arg-type]
            case["attempt"],  # type: ignore[arg-type]
            case["delay"],  # type: ignore[arg-type]
            case["longest"],  # type: ignore[arg-type]
            lambda chance=chance: chance,  # type: ignore[misc]
            factor=case["factor"],  # type: ignore[arg-type]
            jitter=case["jitter"],  # type: ignore[arg-type]
        )
        assert row["delay"] == pytest.approx(expected, rel=1e-9), case


def _case(random: Random) -> dict[str, Any]:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randint(0, 60_000_000))
    span = timedelta(seconds=random.choice(SPANS) * random.random())
    return {
        "id": random.randint(1, 10**9),
        "cron_expression": random.choice(EXPRESSIONS) if random.random() < 0.6 else None,
        "step": random.choice(STEPS),
        "timezone": random.choice(ZONES),
        "anchor": moment - span,
        "now": moment,
        "end_date": random.choice([None, None, moment + timedelta(seconds=random.uniform(-90_000, 90_000))]),
        "repeat_count": random.choice([None, None, 3]),
        "execution_count": random.randint(0, 3),
        "on_missed": random.choice(["once", "skip", "all"]),
        "catchup_window": random.choice([None, Interval(microseconds=60_000_000), Interval(days=2)]),
        "jitter": random.choice([None, None, Interval(microseconds=30_000_000), Interval(microseconds=7_200_000_000)]),
    }


def _text(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.to_text()
    return value.isoformat() if isinstance(value, datetime) else value


def test_what_becomes_of_missed_ticks_is_what_the_python_worker_decides(dsn: str) -> None:
    random = Random(46)
    cases = [_case(random) for _ in range(250)]
    verdicts = Counter[tuple[bool, bool]]()
    with database(dsn) as connection:
        connection.execute("set timezone = 'UTC'")
        for case in cases:
            columns = {name: _text(case[name]) for name in case if name not in ("step", "anchor", "now")}
            columns["repeat_interval"] = None if case["cron_expression"] else case["step"].to_text()
            columns["start_date"] = None if case["cron_expression"] else case["anchor"].isoformat()
            columns["planned_from"] = case["anchor"].isoformat()
            first = connection.execute(
                "select pgsched.first_tick(jsonb_populate_record(null::pgsched.tasks, %s), %s) as tick",
                (json.dumps(columns), case["anchor"]),
            ).fetchone()
            assert first is not None
            tick = first["tick"]
            if tick is None or tick > case["now"]:
                continue
            schedule = Schedule(
                cron_expression=case["cron_expression"],
                timezone=case["timezone"],
                start_date=None if case["cron_expression"] else case["anchor"],
                end_date=case["end_date"],
                repeat_interval=None if case["cron_expression"] else case["step"],
                repeat_count=case["repeat_count"],
                on_missed=case["on_missed"],
                catchup_window=case["catchup_window"],
                jitter=case["jitter"],
                task_id=case["id"],
                planned_from=case["anchor"],
            )
            due = due_at(schedule, tick)
            if due > case["now"]:
                continue
            expected = admit(schedule, tick, due, case["now"], case["execution_count"])
            columns["scheduled_for"], columns["next_run_at"] = tick.isoformat(), due.isoformat()
            found = connection.execute(
                "select * from pgsched.admit_tick(jsonb_populate_record(null::pgsched.tasks, %s), %s)",
                (json.dumps(columns), case["now"]),
            ).fetchone()
            assert found is not None
            verdicts[expected.run is not None, expected.missed > 0] += 1
            assert (found["run"], found["next_tick"]) == (expected.run, expected.next_tick), case
            if expected.missed < COUNT_LIMIT - 1:
                assert found["missed"] == expected.missed, case
            else:
                assert found["missed"] >= COUNT_LIMIT - 1, case
    # Ran as they were, later ones ran instead, none ran; the fourth is a schedule that has had all its ticks.
    assert all(verdicts[verdict] >= 5 for verdict in [(True, False), (True, True), (False, True), (False, False)]), (
        verdicts
    )
