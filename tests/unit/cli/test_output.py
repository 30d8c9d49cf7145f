"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pgsched.cli.output import cell, count, fields, plain, table
from pgsched.cli.times import moment, span
from pgsched.domain.interval import Interval

NOW = datetime(2026, 3, 29, 6, 0, 0, tzinfo=UTC)


def test_columns_are_aligned_and_numbers_go_to_the_right() -> None:
    assert table(("ID", "TYPE"), [(7, "mail"), (123, "a report")]) == "\n".join(
        [
            " ID  TYPE",
            "  7  mail",
            "123  a report",
        ]
    )


def test_table_without_rows_is_its_headers() -> None:
    assert table(("ID", "TYPE"), []) == "ID  TYPE"


def test_column_with_numbers_and_gaps_goes_to_the_right() -> None:
    assert table(("MS",), [(5,), (None,), (100,)]) == " MS\n  5\n  -\n100"


def test_no_line_is_longer_than_the_width() -> None:
    lines = table(("ID", "ERROR", "WHY"), [(1, "x" * 80, "y" * 30)], width=40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[1].count("…") == 2


def test_widest_column_gives_way_first() -> None:
    row = table(("ID", "NAME", "ERROR"), [(1234567, "short name", "x" * 80)], width=40).splitlines()[1]
    assert row.startswith("1234567  short name  xxx")
    assert len(row) == 40


def test_a_line_too_long_even_so_is_cut() -> None:
    assert all(len(line) <= 10 for line in table(("A" * 8, "B" * 8), [("x", "y")], width=10).splitlines())


def test_wide_letters_take_two_columns() -> None:
    assert table(("A", "B"), [("日本", 1), ("abcd", 2)]).splitlines()[1:] == ["日本  1", "abcd  2"]


def test_control_characters_never_reach_the_terminal() -> None:
    assert cell("red \x1b[31m\nnext\tline\x07") == "red  [31m next line "


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ("", ""),
        (Interval.parse("1h30m"), "1h30m"),
        ({"name": "Zoë"}, '{"name": "Zoë"}'),
        (["a"], '["a"]'),
    ],
)
def test_value_is_shown_as(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_fields_stand_under_each_other() -> None:
    assert fields([("id", 1), ("task_type", "mail"), ("note", "")]) == "id         1\ntask_type  mail\nnote"


@pytest.mark.parametrize(
    ("seconds", "hint"),
    [
        (0, "now"),
        (0.9, "now"),
        (3, "in 3 s"),
        (-3, "3 s ago"),
        (119, "in 1 m"),
        (-7200, "2 h ago"),
        (86_400 * 40, "in 40 d"),
    ],
)
def test_time_has_a_hint_how_far_it_is(seconds: float, hint: str) -> None:
    assert moment(NOW + timedelta(seconds=seconds), now=NOW).endswith(f"Z ({hint})")


def test_time_is_shown_in_utc_to_the_second() -> None:
    at = datetime(2026, 3, 29, 8, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert moment(at, now=NOW).startswith("2026-03-29T06:00:00Z ")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 ms"), (0.0123, "12 ms"), (1, "1 s"), (90, "1 m"), (86_400, "1 d")]
)
def test_span_is_told_in_its_largest_unit(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


@pytest.mark.parametrize("text", ["0s", "250ms", "0.5ms", "3s", "1h30m", "1d", "1mo2d3h4m5s", "7d"])
def test_duration_is_written_as_it_is_given(text: str) -> None:
    assert Interval.parse(text).to_short_text() == text


def test_json_has_times_in_utc_and_spans_in_seconds() -> None:
    value = {"at": NOW, "for": timedelta(minutes=1)}
    assert json.loads(json.dumps(value, default=plain)) == {"at": "2026-03-29T06:00:00Z", "for": 60.0}


def test_nouns_are_counted() -> None:
    assert [count(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
