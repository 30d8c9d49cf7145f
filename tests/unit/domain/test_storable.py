"""What a handler says, made fit for PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.storable import storable, storable_json
from tests.support.engine import NOW


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("not even that")


@given(st.text(alphabet=st.characters(exclude_categories=[])), st.integers(40, 100))
def test_any_text_becomes_text_that_postgresql_holds(text: str, longest: int) -> None:
    clean = storable(text, longest)
    assert "\x00" not in clean
    assert len(clean) <= longest
    clean.encode()


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert storable("grüße 🙂", 100) == "grüße 🙂"


def test_a_long_text_is_cut_in_its_middle() -> None:
    cut = storable("the start" + "x" * 1000 + "the end", 100)
    assert cut.startswith("the start")
    assert cut.endswith("the end")


@pytest.mark.parametrize("value", [{"a": [1, None, "ä"]}, 0.5, "text", None])
def test_json_is_left_as_it_is(value: Any) -> None:
    assert json.loads(storable_json(value, 100)) == value


def test_only_the_parts_of_an_object_that_are_no_json_become_text() -> None:
    value = {"at": NOW, "count": 3, "not": float("nan"), "nul": "a\x00b", ("k", 1): 1}
    assert json.loads(storable_json(value, 100)) == {
        "at": NOW.isoformat(),
        "count": 3,
        "not": "NaN",
        "nul": "a\\x00b",
        "('k', 1)": 1,
    }


@pytest.mark.parametrize("value", [{1, 2}, NOW, "a\x00b", "\ud800", Unprintable(), {"k": Unprintable()}])
def test_what_is_no_json_becomes_text(value: Any) -> None:
    assert json.loads(storable_json(value, 100))


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {"in": {True: "a", "true": "b"}}, {(1,): NOW, "(1,)": 2}])
def test_no_part_of_an_object_is_lost_when_its_keys_are_one_as_text(value: dict[Any, Any]) -> None:
    kept = json.loads(storable_json(value, 200))
    assert kept == ({"in": str(value["in"])} if "in" in value else str(value))


def test_a_value_that_holds_itself_becomes_text() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    json.loads(storable_json(value, 100))


def test_a_value_that_is_too_long_is_cut() -> None:
    assert len(storable_json({"k": "x" * 2**21}, 100)) < 200


def test_many_parts_that_are_too_long_together_are_cut() -> None:
    assert len(storable_json({str(number): "x" * 1000 for number in range(2000)}, 100)) < 200
