"""The rule of unique tasks, as a program says it."""

from __future__ import annotations

from datetime import timedelta

from pgsched import Unique

NOTHING = dict.fromkeys(("by", "within", "states", "debounce", "max_wait"))


def test_nothing_is_said_by_default() -> None:
    assert Unique().parameters() == NOTHING


def test_periods_are_durations_and_go_as_text() -> None:
    for minute in (60, "1m", timedelta(minutes=1)):
        assert Unique(within=minute).parameters() == NOTHING | {"within": "60 secs"}
    debounced = Unique(debounce=0.5, max_wait="1h")
    assert debounced.parameters() == NOTHING | {"debounce": "0.5 secs", "max_wait": "3600 secs"}


def test_parts_and_states_are_lists() -> None:
    unique = Unique(by=("queue", "payload.a.b"), states=("pending",), within="1d")
    assert unique.parameters()["by"] == ["queue", "payload.a.b"]
    assert unique.parameters()["states"] == ["pending"]
    assert Unique(states=(), within="1d").parameters()["states"] == []


def test_rules_that_say_the_same_are_equal() -> None:
    assert Unique(by=["queue"]) == Unique(by=["queue"])
