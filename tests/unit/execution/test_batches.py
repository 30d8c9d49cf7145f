"""What the signatures of batch handlers say, and which are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NotRequired

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from pgsched import App, Context, Item, PayloadMismatch, RegistrationError


@dataclass
class Point:
    """A payload with a default."""

    x: int
    y: int = 0


class Row(TypedDict):
    """A payload with a key that may be missing."""

    x: int
    y: NotRequired[int]


class Model(BaseModel):
    """A payload with an alias and a rule over two fields."""

    x: int = Field(alias="from")
    y: int = 0


class Open(BaseModel):
    """A payload that may have any key."""

    model_config = ConfigDict(extra="allow")
    x: int


def handler_of(function: Callable[..., Any]) -> Any:
    return App().task("it", batch=10)(function).handler


def points(payloads: list[Point]) -> list[int | Exception]: ...
def rows(payloads: list[Row]) -> None: ...
def models(payloads: list[Model]) -> list[str]: ...
def items(payloads: list[Item[Point]]) -> list[int]: ...
def opens(payloads: list[Open]) -> None: ...
def dicts(payloads: list[dict[str, Any]]) -> None: ...
def anything(payloads): ...  # type: ignore[no-untyped-def]
def bare(payloads: list[Item]) -> None: ...  # type: ignore[type-arg]


@pytest.mark.parametrize(
    ("function", "parameters", "required", "open_ended"),
    [
        (points, {"x", "y"}, {"x"}, False),
        (rows, {"x", "y"}, {"x"}, False),
        (models, {"from", "y"}, {"from"}, False),
        (items, {"x", "y"}, {"x"}, False),
        (opens, set(), set(), True),
        (dicts, set(), set(), True),
        (anything, set(), set(), True),
        (bare, set(), set(), True),
    ],
)
def test_the_keys_of_a_payload_are_those_of_its_type(
    function: Callable[..., Any], parameters: set[str], required: set[str], open_ended: bool
) -> None:
    handler = handler_of(function)
    assert (handler.parameters, handler.required, handler.open_ended) == (parameters, required, open_ended)


@pytest.mark.parametrize(
    ("function", "payload", "value"),
    [
        (points, {"x": "1"}, Point(1, 0)),
        (rows, {"x": 1}, {"x": 1}),
        (models, {"from": 1}, Model.model_validate({"from": 1})),
        (dicts, {"a": 1}, {"a": 1}),
    ],
)
def test_a_payload_becomes_what_the_annotation_says(
    function: Callable[..., Any], payload: dict[str, Any], value: object
) -> None:
    types = handler_of(function).types
    assert (payload if types is None else types.arguments(payload)) == value


def test_a_caller_is_told_of_a_payload_that_does_not_fit() -> None:
    handler = handler_of(points)
    assert handler.encode({"x": 1}) == {"x": 1}  # and no default comes along
    with pytest.raises(PayloadMismatch, match="x must be a whole number"):
        handler.encode({"x": "many"})
    with pytest.raises(PayloadMismatch, match="unexpected argument 'z'"):
        handler.encode({"x": 1, "z": 1})


def test_the_schemas_are_those_of_one_task() -> None:
    handler = handler_of(points)
    assert handler.payload_schema["properties"] == {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}}
    assert handler.result_schema == {"type": "integer"}
    assert handler_of(rows).result_schema is None


def two(first: list[dict[str, Any]], second: int) -> None: ...
def none() -> None: ...
def no_list(payloads: dict[str, Any]) -> None: ...
def numbers(payloads: list[int]) -> None: ...
def with_context(ctx: Context, payloads: list[Point]) -> None: ...


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (two, "must have one parameter, the list of its payloads, got 'first', 'second'"),
        (none, "must have one parameter, the list of its payloads, got none"),
        (with_context, "must have one parameter, the list of its payloads, got 'ctx', 'payloads'"),
        (no_list, "parameter 'payloads' must be annotated as a list of payloads"),
        (numbers, "a payload is an object, got a list of int"),
    ],
)
def test_a_function_that_takes_no_list_of_payloads_is_refused(function: Callable[..., Any], rule: str) -> None:
    with pytest.raises(RegistrationError, match=rule):
        handler_of(function)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"batch": 0}, "batch must be between 1 and 10000, got 0"),
        ({"batch": True}, "batch must be between 1 and 10000, got True"),
        ({"batch": 2, "wait": "2m"}, "wait must be between 0 and 60 seconds, got '2m'"),
        ({"batch": 2, "wait": "soon"}, "wait"),
        ({"wait": "1s"}, "wait is for batch handlers: give batch, too"),
        ({"batch": 2, "transactional": True}, "batch excludes transactional"),
        ({"batch": 2, "executor": "process"}, 'batch excludes executor="process"'),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(RegistrationError, match=rule):
        App().task("it", **options)(points)
