"""A form made of a schema: kinds of fields, what is typed into them, and the payload that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le
from pydantic import Field

from pgsched import App
from pgsched.web.services.payload_form import PayloadForm, field_of_error, form_of


class Speed(Enum):
    USUAL = "usual"
    EXPRESS = "express"


@dataclass
class Item:
    sku: str
    count: int = 1


def send(
    to: str,
    times: Annotated[int, Ge(1), Le(5)],
    speed: Speed = Speed.USUAL,
    ratio: float | None = None,
    urgent: bool = False,
    items: list[Item] | None = None,
    note: Annotated[str, Field(description="For people.", max_length=10)] = "none",
    level: Literal[1, 2] = 1,
) -> None: ...


@pytest.fixture
def form() -> PayloadForm:
    app = App()
    app.task("send")(send)
    handler = app.registry.get("send")
    assert handler is not None
    found = form_of(handler.payload_schema)
    assert found is not None
    return found


def test_kinds_of_fields(form: PayloadForm) -> None:
    told = {one.key: (one.kind, one.required, one.default) for one in form.fields}
    assert told == {
        "times": ("integer", True, None),
        "to": ("text", True, None),
        "items": ("json", False, None),
        "level": ("choice", False, "1"),
        "note": ("text", False, '"none"'),
        "ratio": ("number", False, None),
        "speed": ("choice", False, '"usual"'),
        "urgent": ("boolean", False, "false"),
    }
    by_key = {one.key: one for one in form.fields}
    assert [one.required for one in form.fields][:2] == [True, True]
    assert by_key["speed"].options == ["usual", "express"]
    assert by_key["level"].options == ["1", "2"]
    assert by_key["note"].description == "For people."
    assert by_key["times"].hint == "integer, 1 to 5"
    assert not form.is_open


def test_what_is_typed_is_read_and_what_is_empty_is_left_out(form: PayloadForm) -> None:
    typed = {
        "p.to": "ada", "p.times": "3", "p.speed": "express", "p.ratio": "0.5", "p.urgent": "true",
        "p.items": '[{"sku": "a"}]', "p.note": "", "p.level": "2",
    }  # fmt: skip
    payload, faults = form.read(typed)
    assert faults == {}
    assert payload == {
        "to": "ada", "times": 3, "speed": "express", "ratio": 0.5, "urgent": True, "items": [{"sku": "a"}], "level": 2
    }  # fmt: skip
    assert type(payload["times"]) is int
    texts = form.texts_of(payload)
    assert texts is not None
    assert form.read(texts) == (payload, {})


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("p.to", " ", "is required"),
        ("p.times", "many", "must be a whole number, got 'many'"),
        ("p.times", "1.5", "must be a whole number, got '1.5'"),
        ("p.times", "6", "must be at most 5, got 6"),
        ("p.times", "9" * 5000, "must be a whole number, got '" + "9" * 60 + "…'"),
        ("p.ratio", "nan", "must be a number, got 'nan'"),
        ("p.speed", "slow", "must be one of usual, express, got 'slow'"),
        ("p.urgent", "yes", "must be one of true, false, got 'yes'"),
        ("p.note", "x" * 11, "must have at most 10 characters, got 11"),
        ("p.items", "[", "must be JSON: "),
    ],
)
def test_what_does_not_fit_is_said_of_its_field(form: PayloadForm, field: str, text: str, said: str) -> None:
    _, faults = form.read({"p.to": "ada", "p.times": "1", field: text})
    assert list(faults) == [field]
    assert faults[field].startswith(said)


def test_payload_that_fields_cannot_show_is_left_to_json(form: PayloadForm) -> None:
    assert form.texts_of({"to": 5, "times": 1}) is None
    assert form.texts_of({"to": "a", "times": 1, "other": 1}) is None
    assert form.texts_of({"to": "a", "times": True}) is None


def test_other_keys_of_an_open_payload() -> None:
    form = form_of({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert form is not None
    assert form.read({"p.a": "1", "p.": '{"b": [2]}'}) == ({"a": 1, "b": [2]}, {})
    assert form.texts_of({"a": 1, "b": [2]}) == {"p.a": "1", "p.": '{\n  "b": [\n    2\n  ]\n}'}
    assert form.read({"p.a": "1", "p.": '{"a": 2}'})[1] == {"p.": "'a' has a field of its own"}
    assert "p." in form.read({"p.a": "1", "p.": "[]"})[1]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"properties": {}},
        {"properties": "odd"},
        {"properties": {f"k{n}": {} for n in range(201)}, "additionalProperties": False},
    ],
)
def test_schema_that_says_nothing_makes_no_form(schema: dict[str, Any] | None) -> None:
    assert form_of(schema) is None


def test_odd_schemas_make_json_fields() -> None:
    odd = {"$ref": "#/$defs/a"}
    form = form_of({"properties": {"a": odd, "b": True, "c": {"enum": [{}]}, "d": {"type": ["integer", "string"]}},
                    "required": 3, "$defs": {"a": {"$ref": "#/$defs/a"}}})  # fmt: skip
    assert form is not None
    assert {one.kind for one in form.fields} == {"json"}


def test_field_that_a_refusal_names(form: PayloadForm) -> None:
    said = "payload does not fit handler 'send': argument 'times' must be integer, got string"
    assert field_of_error(said, form) == "p.times"
    assert field_of_error("queue must have 1 to 200 characters", form) is None
