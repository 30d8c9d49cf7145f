from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import (
    MAX_DEPTH,
    MAX_JSON_BYTES,
    KeyTwice,
    NotExact,
    check_exact,
    encode_json,
    foreign_key,
    unique_keys,
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(categories=["L"])), inner),
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@given(JSON_VALUES)
def test_value_reads_back_as_it_was(value: Any) -> None:
    assert json.loads(encode_json(value, "result")) == value


def test_text_is_compact_and_keeps_its_characters() -> None:
    assert encode_json({"a": [1, "ü"]}, "payload") == '{"a":[1,"ü"]}'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "payload must be JSON, got NaN"),
        ({"a": float("inf")}, "payload['a'] must be JSON, got infinity"),
        ({"a": [1, {2}]}, "payload['a'][1] must be JSON, got a set"),
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, "payload['when'] must be JSON, got a datetime"),
        ({"a": {(1, 2): 3}}, "payload['a'] must have keys that are strings, got a tuple"),
        ({"a": [{1: "a", "1": "b"}]}, "payload['a'][0] must have keys that differ as text, got 1 and '1'"),
        ({"1": "a", 1: "b"}, "payload must have keys that differ as text, got '1' and 1"),
        ({True: 1, "true": 2}, "payload must have keys that differ as text, got True and 'true'"),
        ({None: 1, "null": 2}, "payload must have keys that differ as text, got None and 'null'"),
        ({1.0: 1, "1.0": 2}, "payload must have keys that differ as text, got 1.0 and '1.0'"),
        ({-0.0: 1, "a": {}, "-0.0": 2}, "payload must have keys that differ as text, got -0.0 and '-0.0'"),
        ({float("nan"): 1}, "payload must have keys that are strings, got NaN"),
        ({10**5000: 1, "a": 2}, "payload must have keys that are strings, got a whole number with too many digits"),
        ({"n": 10**5000}, "payload['n'] must be JSON, got a whole number with too many digits"),
        ({"a": "b\0c"}, "payload must not contain the character \\u0000, which jsonb cannot hold"),
        ({"a\0": 1}, "payload must not contain the character \\u0000, which jsonb cannot hold"),
        ({"a": "\ud800"}, "payload must be Unicode text, got half a surrogate pair"),
    ],
)
def test_what_jsonb_cannot_hold_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        encode_json(value, "payload")
    assert str(caught.value) == reason


def test_keys_of_several_types_that_differ_as_text_are_taken() -> None:
    value = {"a": {1: "x", "2": "y", None: "z", 1.5: [], False: 0}}
    assert json.loads(encode_json(value, "result")) == {"a": {"1": "x", "2": "y", "null": "z", "1.5": [], "false": 0}}


def test_text_that_has_a_key_twice_is_not_read() -> None:
    with pytest.raises(KeyTwice, match="an object has the key 'b' twice"):
        json.loads('{"a": 1, "c": [{"b": 1, "a": 2, "b": 1}]}', object_pairs_hook=unique_keys)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", 'C:\\u0000"'])
def test_text_that_only_looks_like_a_nul_is_taken(text: str) -> None:
    assert json.loads(encode_json(text, "payload")) == text


def test_deepest_value_is_taken() -> None:
    assert encode_json(nested(MAX_DEPTH), "result") == "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 100_000])
def test_value_that_is_nested_too_deep_is_refused(levels: int) -> None:
    with pytest.raises(InvalidTask, match="result must not be nested deeper than 100 levels"):
        encode_json(nested(levels), "result")


def test_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidTask, match="nested deeper"):
        encode_json(value, "result")


def test_many_flat_containers_are_not_deep() -> None:
    assert json.loads(encode_json([[] for _ in range(1000)], "result")) == [[]] * 1000


def test_value_of_1_mib_is_taken() -> None:
    value = "x" * (MAX_JSON_BYTES - 2)
    assert len(encode_json(value, "result")) == MAX_JSON_BYTES


def test_value_beyond_1_mib_is_refused_with_its_size() -> None:
    with pytest.raises(InvalidTask, match=r"result must not exceed 1 MiB as JSON, got 1,048,577 bytes"):
        encode_json("x" * (MAX_JSON_BYTES - 1), "result")


def test_size_counts_bytes_of_utf8_not_characters() -> None:
    with pytest.raises(InvalidTask, match="1 MiB"):
        encode_json("€" * (MAX_JSON_BYTES // 2), "result")


def test_size_counts_the_spaces_that_postgresql_prints() -> None:
    with pytest.raises(InvalidTask, match="1 MiB"):
        encode_json([1] * (MAX_JSON_BYTES // 2 - 10), "result")


def test_foreign_key_is_found_with_its_path() -> None:
    assert foreign_key({"a": [{1: "x"}]}) == "['a'][0][1]"


def test_keys_that_are_strings_are_not_foreign() -> None:
    assert foreign_key({"a": [{"b": {}}]}) is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": {"b-c": 1e999}}', "a.b-c"),
        ('{"a\\nb": 1e999}', '["a\\nb"]'),
        ('{"a": {"\\ud800": NaN}}', 'a["\\ud800"]'),
        ('{"": {"k": 1, "k": 2}}', '[""].k'),
    ],
)
def test_what_is_not_exact_is_named_in_one_line_that_can_be_encoded(text: str, place: str) -> None:
    with pytest.raises(NotExact) as raised:
        check_exact(text)
    assert raised.value.place == place
    assert len(str(raised.value).encode().splitlines()) == 1
