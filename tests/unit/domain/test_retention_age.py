"""Durations that delete: with a unit, and not under an hour by mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pgsched.db.queries.dead_tasks import purge_dead
from pgsched.db.queries.queues import set_queue
from pgsched.db.queries.settings import set_settings
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.retention_age import age_of, is_short, long_enough
from pgsched.ops.prune import override_of

WITHOUT_UNIT = [7, 7.5, 0, True, "7", " 7 ", "0.5", "1e3", "inf"]


@pytest.mark.parametrize("value", ["7d", "12h", "1mo", "1h30m", timedelta(days=7), Interval(days=7)])
def test_age_with_a_unit_is_taken(value: Any) -> None:
    assert age_of("retention", value).seconds >= 3600


@pytest.mark.parametrize("value", WITHOUT_UNIT)
def test_number_without_a_unit_is_refused_wherever_it_deletes(value: Any) -> None:
    calls = [
        lambda: set_settings({"retention": value}),
        lambda: set_settings({"dead_retention": value}),
        lambda: set_settings({"history_retention": value}),
        lambda: set_queue("mail", {"dead_retention": value, "allow_short": True}),
        lambda: purge_dead(queue=None, task_type=None, older_than=value, all=False),
        *(
            lambda name=name: override_of({name: value, "allow_short": True})  # type: ignore[misc]
            for name in ("completed_older_than", "dead_older_than", "history_older_than")
        ),
    ]
    for call in calls:
        with pytest.raises(InvalidTask, match='must have a unit, such as "7d" or "12h", got'):
            call()


@pytest.mark.parametrize("value", [one for one in WITHOUT_UNIT if one != 0])
def test_number_without_a_unit_is_refused_of_a_queue(value: Any) -> None:
    with pytest.raises(InvalidTask, match='must have a unit, such as "7d" or "12h", got'):
        set_queue("mail", {"retention": value, "allow_short": True})


@pytest.mark.parametrize("value", [0, "0", " 0 ", "0s", timedelta(0), Interval()])
def test_0_of_a_queue_needs_neither_a_unit_nor_a_word(value: Any) -> None:
    params = set_queue("mail", {"retention": value}).params
    assert (params["retention"], params["allow_short"]) == (Interval().to_text(), False)


@pytest.mark.parametrize("value", [False, "0", 0])
def test_0_of_dead_tasks_needs_a_unit(value: Any) -> None:
    with pytest.raises(InvalidTask, match='must have a unit, such as "7d" or "12h", got'):
        set_queue("mail", {"dead_retention": value, "allow_short": True})
    with pytest.raises(InvalidTask, match="must have a unit"):
        set_queue("mail", {"retention": False, "allow_short": True})


@pytest.mark.parametrize("value", ["7s", "59m", "0s", timedelta(seconds=7), Interval(microseconds=1)])
def test_age_under_an_hour_needs_a_word(value: Any) -> None:
    for call in (
        lambda **word: set_settings({"retention": value, **word}),
        lambda **word: set_settings({"dead_retention": value, **word}),
        lambda **word: set_queue("mail", {"dead_retention": value, **word}),
        lambda **word: override_of({"completed_older_than": value, **word}),
        lambda **word: override_of({"dead_older_than": value, **word}),
    ):
        with pytest.raises(InvalidTask, match="must be at least 1 hour unless allow_short is set, got"):
            call()
        call(allow_short=True)


@pytest.mark.parametrize("value", ["7s", "59m", timedelta(seconds=7), Interval(microseconds=1)])
def test_age_of_a_queue_under_an_hour_needs_a_word(value: Any) -> None:
    with pytest.raises(InvalidTask, match="must be at least 1 hour unless allow_short is set, got"):
        set_queue("mail", {"retention": value})
    set_queue("mail", {"retention": value, "allow_short": True})


def test_word_is_no_number() -> None:
    with pytest.raises(InvalidTask, match="allow_short must be True or False, got 1"):
        set_settings({"retention": "7s", "allow_short": 1})  # type: ignore[typeddict-item]


def test_an_hour_is_long_enough() -> None:
    hour = Interval(microseconds=3_600_000_000)
    assert long_enough("retention", hour, allow_short=False) == hour
    assert not is_short(hour)
    assert is_short(Interval(microseconds=3_599_999_999))
