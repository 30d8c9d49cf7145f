from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pgsched.domain.errors import InvalidCron, InvalidTask, InvalidTimezone
from pgsched.domain.interval import Interval
from pgsched.domain.task_spec import OPTION_NAMES, TaskSpec

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def spec(**options: Any) -> TaskSpec:
    return TaskSpec(**{"task_type": "mail", **options})


def argument(name: str, **options: Any) -> Any:
    """One argument for the SQL function."""
    return spec(**options).parameters()[name]


def refusal(**options: Any) -> str:
    with pytest.raises(InvalidTask) as caught:
        spec(**options)
    return str(caught.value)


def test_every_option_is_a_field() -> None:
    for name in OPTION_NAMES:
        assert getattr(spec(), name) is None


def test_what_is_left_out_is_left_to_the_table() -> None:
    given = {name: value for name, value in spec().parameters().items() if value is not None}
    assert given == {"task_type": "mail"}


def test_options_become_arguments_of_the_sql_function() -> None:
    given = spec(
        payload={"to": "ü"},
        every="15m",
        times=4,
        start=NEW_YEAR,
        end=NEW_YEAR,
        name="newsletter",
        tags=("a", "b"),
        jitter=1.5,
        enabled=False,
        concurrency_key="tenant 7",
    ).parameters()
    assert {name: value for name, value in given.items() if value is not None} == {
        "task_type": "mail",
        "payload": '{"to":"ü"}',
        "repeat_interval": "900 secs",
        "repeat_count": 4,
        "start_date": "2026-01-01T00:00:00+00:00",
        "end_date": "2026-01-01T00:00:00+00:00",
        "task_name": "newsletter",
        "tags": ["a", "b"],
        "jitter": "1.5 secs",
        "enabled": False,
        "concurrency_key": "tenant 7",
    }


def test_dependencies_become_arguments_of_the_sql_function() -> None:
    given = spec(depends_on=(3, 4), dependency_mode="any", on_dependency_dead="run").parameters()
    assert {name: value for name, value in given.items() if value is not None} == {
        "task_type": "mail",
        "depends_on": [3, 4],
        "dependency_mode": "any",
        "on_dependency_dead": "run",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (90, "90 secs"),
        (0.25, "0.25 secs"),
        ("1h30m", "5400 secs"),
        (timedelta(days=1, seconds=1), "1 days 1 secs"),
        (Interval(months=1), "1 mons"),
    ],
)
def test_duration_is_taken_in_each_form(value: Any, text: str) -> None:
    assert argument("timeout", timeout=value) == text


def test_instant_of_another_zone_becomes_utc() -> None:
    at = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert argument("run_at", at=at) == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_type": ""}, "task_type must have 1 to 200 characters, got 0"),
        ({"task_type": None}, "task_type must be text, got None"),
        ({"task_type": "a\nb"}, "task_type must not contain control characters, got 'a\\nb'"),
        ({"queue": "q" * 101}, "queue must have 1 to 100 characters, got 101"),
        ({"priority": 99}, "priority must be between 1 and 10, got 99"),
        ({"priority": 0}, "priority must be between 1 and 10, got 0"),
        ({"priority": "5"}, "priority must be a whole number, got '5'"),
        ({"priority": True}, "priority must be a whole number, got True"),
        ({"max_attempts": 1001}, "max_attempts must be between 1 and 1000, got 1001"),
        ({"times": 0, "every": 1}, "times must be at least 1, got 0"),
        ({"times": 2**31, "every": 1}, "times must be at most 2147483647, got 2147483648"),
        ({"times": 2}, "times needs every, got times 2 alone"),
        ({"at": datetime(2026, 1, 1)}, "at must have a time zone, got 2026-01-01 00:00:00"),
        ({"at": "2026-01-01"}, "at must be a datetime, got '2026-01-01'"),
        ({"at": NEW_YEAR, "delay": 1}, "at and delay exclude each other"),
        ({"cron": "* * * * *", "every": 1}, "cron and every exclude each other"),
        (
            {"delay": 1, "every": 1},
            "at and delay are for one-time tasks; a schedule begins with start",
        ),
        (
            {"every": 1, "start": NEW_YEAR, "end": datetime(2025, 1, 1, tzinfo=UTC)},
            "end must not be before start, got 2025-01-01 00:00:00+00:00 and 2026-01-01 00:00:00+00:00",
        ),
        ({"delay": -5}, "delay must not be negative, got -5"),
        ({"delay": timedelta(seconds=-5)}, "delay must not be negative, got -1 day, 23:59:55"),
        (
            {"delay": float("nan")},
            "delay must be a number of seconds within PostgreSQL's range, got nan",
        ),
        ({"every": 0}, "every must be at least 1 millisecond, got 0"),
        ({"timeout": "0s"}, "timeout must be at least 1 millisecond, got '0s'"),
        ({"timeout": "12001mo"}, "timeout must be at most 1000 years, got '12001mo'"),
        ({"jitter": "25h"}, "jitter must be between 0 and 1 day, got '25h'"),
        ({"backoff": "random"}, "backoff must be exponential, linear or fixed, got 'random'"),
        ({"on_missed": "never"}, "on_missed must be once, skip or all, got 'never'"),
        ({"overlap": "wait"}, "overlap must be skip or allow, got 'wait'"),
        ({"enabled": 1}, "enabled must be True or False, got 1"),
        ({"tags": "mail"}, "tags must be a list of texts, got 'mail'"),
        ({"tags": [None]}, "each of tags must be text, got None"),
        ({"tags": ["t"] * 101}, "tags must be at most 100, got 101"),
        ({"idempotency_key": ""}, "idempotency_key must have 1 to 500 characters, got 0"),
        ({"name": "a\0"}, "name must not contain the character \\0, got 'a\\x00'"),
        ({"payload": [1]}, "payload must be a dictionary, got a list"),
        ({"payload": {1: 2, "1": 3}}, "payload must have keys that differ as text, got 1 and '1'"),
        (
            {"metadata": {"a": {None: 2, "null": 3}}},
            "metadata['a'] must have keys that differ as text, got None and 'null'",
        ),
        ({"payload": {1: 2}}, "payload must have keys that are strings, got 'payload[1]'"),
        (
            {"metadata": {"a": {None: 2}}},
            "metadata must have keys that are strings, got \"metadata['a'][None]\"",
        ),
        ({"parent_id": 0}, "parent_id must be at least 1, got 0"),
        ({"depends_on": 7}, "depends_on must be a list of ids, got 7"),
        ({"depends_on": "7"}, "depends_on must be a list of ids, got '7'"),
        ({"depends_on": [1, "2"]}, "each of depends_on must be a whole number, got '2'"),
        ({"depends_on": [0]}, "each of depends_on must be at least 1, got 0"),
        ({"depends_on": [1], "every": "1h"}, "depends_on is for one-time tasks, got every '1h' with it"),
        ({"dependency_mode": "some"}, "dependency_mode must be all, any or each, got 'some'"),
        ({"on_dependency_dead": "skip"}, "on_dependency_dead must be cancel, run or wait, got 'skip'"),
        ({"concurrency_key": ""}, "concurrency_key must have 1 to 200 characters, got 0"),
    ],
)
def test_broken_rule_is_named_with_option_and_value(options: dict[str, Any], message: str) -> None:
    assert refusal(**options) == message


def test_duration_that_cannot_be_read_names_the_option() -> None:
    assert refusal(timeout="soon").startswith('timeout: interval "soon" must be')


def test_cron_expression_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidCron):
        spec(cron="61 * * * *")


def test_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidTimezone):
        spec(timezone="Europe/Atlantis")


def test_long_value_is_shortened_in_the_message() -> None:
    assert len(refusal(backoff="x" * 10_000)) < 200


def test_payload_is_encoded_at_once() -> None:
    payload = {"a": 1}
    made = spec(payload=payload)
    payload["a"] = 2
    assert made.parameters()["payload"] == '{"a":1}'


def test_payload_is_not_shown() -> None:
    assert "secret" not in repr(spec(payload={"password": "secret"}))


def test_defaults_fill_only_what_was_left_out() -> None:
    filled = spec(queue="mail").with_defaults({"queue": "other", "priority": 9})
    assert (filled.queue, filled.priority) == ("mail", 9)


def test_spec_that_breaks_a_rule_with_its_defaults_is_refused() -> None:
    with pytest.raises(InvalidTask, match="exclude each other"):
        spec(cron="* * * * *").with_defaults({"every": 5})
