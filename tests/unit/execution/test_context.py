"""What a handler may know and report."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from pgsched.execution.context import MAX_LOG_CHARACTERS, MAX_LOG_LINES, Context
from tests.support.engine import NOW, claimed


def context(*, deadline: float | None = None, clock: float = 100.0, **columns: Any) -> Context:
    return Context(task=claimed(**columns), clock=lambda: clock, now=lambda: NOW, deadline=deadline, is_catchup=False)


def test_the_tick_is_the_nominal_time_not_the_due_time() -> None:
    assert context(scheduled_for=NOW, next_run_at=NOW + timedelta(hours=1)).scheduled_for == NOW


def test_the_attempt_and_the_token_are_those_of_the_claim() -> None:
    made = context(attempts=2, max_attempts=7, fencing_token=9, id=4)
    assert (made.id, made.attempt, made.max_attempts, made.fencing_token) == (4, 2, 7, 9)


def test_without_a_timeout_there_is_no_deadline() -> None:
    assert (context().remaining, context().deadline) == (None, None)


def test_the_remaining_time_is_counted_down() -> None:
    made = context(deadline=107.5)
    assert (made.remaining, made.deadline) == (7.5, NOW + timedelta(seconds=7.5))


def test_the_remaining_time_is_never_negative() -> None:
    assert context(deadline=99.0).remaining == 0


def test_a_report_is_handed_over_once() -> None:
    made = context()
    made.progress(0.5)
    made.log("half")
    progress, lines = made.take_report()
    assert (progress, [line.message for line in lines]) == ("0.5", ["half"])
    assert made.take_report() == (None, [])


def test_the_latest_progress_counts() -> None:
    made = context()
    made.progress(0.5)
    made.progress(0.7)
    assert made.take_report()[0] == "0.7"


def test_progress_is_what_it_was_when_it_was_shown() -> None:
    made, value = context(), {"done": 1}
    made.progress(value)
    value["done"] = 2
    assert made.take_report()[0] == '{"done":1}'


def test_a_report_that_could_not_be_written_is_taken_back_in_its_order() -> None:
    made = context()
    made.progress(1)
    made.log("one")
    report = made.take_report()
    made.log("two")
    made.give_back(*report)
    progress, lines = made.take_report()
    assert (progress, [line.message for line in lines]) == ("1", ["one", "two"])


def test_progress_that_is_taken_back_does_not_replace_a_later_one() -> None:
    made = context()
    made.progress(1)
    report = made.take_report()
    made.progress(2)
    made.give_back(*report)
    assert made.take_report()[0] == "2"


def test_a_line_has_its_time_level_and_fields() -> None:
    made = context(clock=42.0)
    made.log("sent", level="debug", to="a@b.c")
    (line,) = made.take_report()[1]
    assert line == (42.0, "debug", "sent", '{"to":"a@b.c"}')


def test_a_long_line_is_cut() -> None:
    made = context()
    made.log("x" * 100_000)
    assert len(made.take_report()[1][0].message) <= MAX_LOG_CHARACTERS


def test_an_attempt_keeps_so_many_lines_and_says_that_others_were_dropped() -> None:
    made = context()
    for number in range(MAX_LOG_LINES + 50):
        made.log(str(number))
    lines = made.take_report()[1]
    assert len(lines) == MAX_LOG_LINES + 1
    assert lines[-1].message == "further lines were dropped"


def test_the_limit_of_lines_is_the_attempts_not_the_reports() -> None:
    made = context()
    kept = 0
    for _ in range(3):
        for number in range(MAX_LOG_LINES):
            made.log(str(number))
        kept += len(made.take_report()[1])
    assert kept == MAX_LOG_LINES + 1


@pytest.mark.parametrize("value", [{1}, float("inf"), "\x00", "\ud800", NOW, {("a",): object()}])
def test_whatever_is_reported_becomes_something_that_postgresql_holds(value: Any) -> None:
    made = context()
    made.progress(value)
    made.log(value, level=value, field=value)
    progress, (line,) = made.take_report()
    for text in (progress, line.message, line.level, line.fields):
        assert text is not None
        assert "\x00" not in text
        text.encode()
    json.loads(str(progress))
    json.loads(str(line.fields))
