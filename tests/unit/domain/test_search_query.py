"""The search language: what its terms mean, what is refused and how, and that what is written reads the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgsched.domain.errors import InvalidTask
from pgsched.domain.search_query import LONGEST, filters_of, parse_query, resolved, write_query
from pgsched.domain.task_filters import STATUSES, TaskFilters, filter_parameters

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
IDS = st.integers(-(2**63) + 1, 2**63 - 1)
MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | TEXTS
OBJECTS = st.dictionaries(
    TEXTS, VALUES | st.dictionaries(TEXTS, VALUES, min_size=1, max_size=2), min_size=1, max_size=3
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(IDS, min_size=1, max_size=3),
        "queue": st.lists(TEXTS, min_size=1, max_size=3),
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3),
        "priority": st.lists(st.integers(1, 10), min_size=1, max_size=3),
        "tag": TEXTS,
        "error": TEXTS,
        "name": TEXTS,
        "search": TEXTS,
        "tenant_id": TEXTS,
        "idempotency_key": TEXTS,
        "enabled": st.booleans(),
        "parent_id": IDS,
        "created_after": MOMENTS,
        "ended_before": MOMENTS,
        "text": st.lists(TEXTS, min_size=1, max_size=3),
        "payload": OBJECTS.map(json.dumps).filter(lambda text: len(text) <= 500),  # a filter has no more characters
    },
)


def read(query: str) -> dict[str, Any]:
    return dict(filters_of(parse_query(query), now=NOW))


@pytest.mark.parametrize(
    ("query", "filters"),
    [
        ("", {}),
        ("#123", {"ids": [123]}),
        ("id:1,2", {"ids": [1, 2]}),
        ("key:abc", {"idempotency_key": "abc"}),
        ("type:bill status:dead,cancelled", {"task_type": ["bill"], "status": ["dead", "cancelled"]}),
        ('queue:"a b","c,d"', {"queue": ["a b", "c,d"]}),
        ("TENANT:acme user:ada", {"tenant_id": "acme", "user_id": "ada"}),
        ("created_after:24h", {"created_after": NOW - timedelta(hours=24)}),
        ("ended_before:2030-01-02", {"ended_before": datetime(2030, 1, 2, tzinfo=UTC)}),
        ("enabled:no", {"enabled": False}),
        ("50123", {"text": ["50123"]}),
        ('"no luck" again', {"text": ["no luck", "again"]}),
        ('"a:b"', {"text": ["a:b"]}),
    ],
)
def test_terms_are_filters(query: str, filters: dict[str, Any]) -> None:
    assert read(query) == filters


@pytest.mark.parametrize(
    ("query", "payload"),
    [
        ("payload.order = 50123", {"order": 50123}),
        ("payload.order=50123", {"order": 50123}),
        ('payload.name = "Ada"', {"name": "Ada"}),
        ("payload.a.b = true payload.a.c = null", {"a": {"b": True, "c": None}}),
        ('payload."a b".c = "x = 1"', {"a b": {"c": "x = 1"}}),
        ('payload:"{\\"a\\": [1]}" payload.b = 1.5', {"a": [1], "b": 1.5}),
    ],
)
def test_paths_are_one_object_that_the_payload_contains(query: str, payload: dict[str, Any]) -> None:
    assert json.loads(read(query)["payload"]) == payload


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("colour:red", "the term colour:red must begin with one of "),
        ("http://x", "a text with a colon stands in double quotes"),
        ("12:30", "the term 12:30 must have the name of a field before its colon, or stand in double quotes"),
        ("type:", "the term type: must have a value behind its colon, without a space between"),
        ("#abc", "the term #abc must have a whole number of at most 19 digits"),
        ("#9999999999999999999", "the term #9999999999999999999 must be"),
        ("status:gone", "the term status:gone must be one of pending, running"),
        ("priority:11", "the term priority:11 must be between 1 and 10"),
        ("created_after:soon", "the term created_after:soon must have a time as 2030-01-31"),
        ("created_after:999999w", "the term created_after:999999w must not be before the year 1"),
        ("tag:a tag:b", "the term tag:b asks for tag a second time: it may be given once"),
        ("queue:a queue:b", "asks for queue a second time: it may be given once, as queue:a,b for either"),
        ("tag:a,b", "the term tag:a,b must have one value; a comma in it stands in double quotes"),
        ("payload.order = abc", "a text in double quotes behind its ="),
        ("payload.order", "the term payload.order must have a path and a value"),
        ("payload.a = 1 payload.a = 2", "the term payload.a = 2 asks for another value"),
        ("payload.a = 1 payload.a.b = 2", "the term payload.a.b = 2 asks for another value"),
        ('"no', 'the term "no must end with a double quote'),
        ('"a"b', "must be followed by a space"),
        ('""', "must have a text between its quotes"),
        ('"\\x"', "must be text in double quotes as JSON has it"),
        ("enabled:maybe", "the term enabled:maybe must be yes or no"),
        ("x" * (LONGEST + 1), f"query must have at most {LONGEST} characters"),
        ("a\0b", "query must not contain the character"),
    ],
)
def test_refusals_name_the_term_and_the_rule_in_one_line(query: str, message: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        read(query)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_number_may_be_an_id_too() -> None:
    assert [term.number for term in parse_query("50123 #17 x1 ½")] == [50123, None, None, None]


def test_a_filter_beside_a_query_that_asks_for_it_is_refused() -> None:
    assert resolved({"query": "type:bill", "queue": "mail"}, now=NOW) == {"task_type": ["bill"], "queue": "mail"}
    with pytest.raises(InvalidTask, match="queue must not be given beside a query that asks for it"):
        resolved({"query": "queue:a", "queue": "b"}, now=NOW)


@given(FILTERS)
def test_what_is_written_reads_the_same(filters: Any) -> None:
    text = write_query(TaskFilters(**filters))
    assume(len(text) <= LONGEST)
    was, now = filter_parameters(TaskFilters(**filters)), filter_parameters(TaskFilters(**read(text)))
    for one in (was, now):
        one["payload"] = one["payload"] and json.loads(one["payload"])
    assert now == was


@given(st.text(st.sampled_from('ab1:=."#,\\ payload.type:'), max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(query: str) -> None:
    said = ""
    try:
        read(query)
    except InvalidTask as error:
        said = str(error)
    assert "\n" not in said
