"""The verdict of the soak: what grows is noticed, what is flat is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.soak.app import LEAK
from chaos.soak.hours import Hour, for_docs, verdict
from chaos.soak.run import soak
from tests.support.servers import fresh_database

FLAT = [
    Hour(
        number=number,
        tasks=90_000,
        seconds=100.0,
        p50=12.0,
        p99=80.0,
        worker_mb=90.0,
        web_mb=110.0,
        server_mb=30.0,
        connections=30,
        tasks_mb=40.0,
        tasks_indexes_mb=20.0,
        executions_mb=25.0 * number,
        executions_indexes_mb=10.0 * number,
        dead_tuples=5_000,
    )
    for number in range(1, 9)
]


def test_hours_that_are_alike_are_flat() -> None:
    assert list(verdict(FLAT)) == []


@pytest.mark.parametrize(
    ("name", "each_hour", "said"),
    [
        ("worker_mb", 4.0, "the memory of the worker grows: 94 MB in hour 2, 116 MB in the last two"),
        ("web_mb", 5.0, "the memory of the web server grows"),
        ("server_mb", 3.0, "the memory of a server process grows"),
        ("tasks_mb", 10.0, "pgsched.tasks grows"),
        ("tasks_indexes_mb", 6.0, "the indexes of pgsched.tasks grows"),
        ("p50", 10.0, "the median pick-up grows"),
        ("connections", 1, "the number of connections grows"),
    ],
)
def test_what_grows_each_hour_is_noticed(name: str, each_hour: float, said: str) -> None:
    hours = [
        replace(hour, **{name: getattr(hour, name) + each_hour * (hour.number - 1)})  # type: ignore[arg-type]
        for hour in FLAT
    ]
    (wrong,) = verdict(hours)
    assert wrong.startswith(said)


def test_a_history_that_grows_faster_with_each_hour_is_noticed() -> None:
    hours = [replace(hour, executions_mb=10.0 * hour.number**2) for hour in FLAT]
    (wrong,) = verdict(hours)
    assert "bytes to the history" in wrong


def test_three_hours_say_nothing() -> None:
    assert list(verdict(FLAT[:3])) != []


def test_the_table_has_a_line_for_each_hour() -> None:
    assert for_docs(FLAT).count("| 90,000 | 900/s | 12 / 80 ms |") == 8


def test_a_handler_that_leaks_is_noticed(server_dsn: str, tmp_path: Path) -> None:
    with fresh_database(server_dsn, "soak_leak") as dsn:
        hours, wrong = soak(
            dsn=dsn, folder=tmp_path, tasks=800, hours=4, tell=lambda _: None, environment={LEAK: "200000"}
        )
    assert wrong == []
    assert [one for one in verdict(hours) if "memory of the worker grows" in one]
