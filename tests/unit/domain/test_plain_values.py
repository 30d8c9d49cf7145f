"""Python's values as JSON has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from pgsched.domain.errors import InvalidTask
from pgsched.domain.plain_values import plain


def foreign(path: str, item: object) -> str:
    return f"{path}: {type(item).__name__}"


class Colour(Enum):
    RED = "red"
    AT = date(2030, 6, 1)


@dataclass
class Point:
    x: Decimal


class Size(NamedTuple):
    width: int


class Model(BaseModel):
    at: datetime
    data: bytes = b""


NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("ä", "ä"),
        (5, 5),
        (0.5, 0.5),
        (Fraction(1, 2), 0.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (NOON, "2030-06-01T12:00:00+00:00"),
        (NOON.date(), "2030-06-01"),
        (time(9, 30), "09:30:00"),
        (b"\xff\x00\xfe", "_wD-"),
        (bytearray(b"\xff"), "_w=="),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Colour.AT, "2030-06-01"),
        ({3, 1}, [1, 3]),
        ({"b", "a"}, ["a", "b"]),
        ((1, [NOON]), [1, ["2030-06-01T12:00:00+00:00"]]),
        (range(2), [0, 1]),
        (Point(Decimal(1)), {"x": "1"}),
        (Size(3), [3]),
        (Model(at=NOON), {"at": "2030-06-01T12:00:00Z", "data": ""}),
        (Model(at=NOON, data=b"\xff"), {"at": "2030-06-01T12:00:00+00:00", "data": "_w=="}),
        ({1: 1, None: 3, 0.5: 4, NOON.date(): 5}, {"1": 1, "null": 3, "0.5": 4, "2030-06-01": 5}),
        ({True: 2}, {"true": 2}),
        (object(), "it: object"),
        ({"a": [object()]}, {"a": ["it['a'][0]: object"]}),
        ({(1,): 2}, {"it[(1,)]: tuple": 2}),
        (["a\x00"], ["it[0]: str"]),
        (Point, "it: type"),
    ],
)
def test_a_value_is_as_json_has_it(value: Any, expected: Any) -> None:
    found = plain(value, "it", foreign)
    assert found == expected
    json.dumps(found, allow_nan=False)


@given(st.timedeltas(min_value=timedelta(days=-10_000), max_value=timedelta(days=10_000)))
def test_a_duration_is_read_back(value: timedelta) -> None:
    assert TypeAdapter(timedelta).validate_json(json.dumps(plain(value, "it", foreign))) == value


def test_keys_that_are_one_as_text_are_refused() -> None:
    with pytest.raises(InvalidTask, match=r"it\['a'\] must have keys that differ as text"):
        plain({"a": {1: 1, "1": 2}}, "it", foreign)


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append([value])
    with pytest.raises(InvalidTask, match="it must not be nested deeper than 100 levels"):
        plain(value, "it", foreign)
