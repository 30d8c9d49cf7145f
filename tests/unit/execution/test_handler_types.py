"""What annotations do to payloads and results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import jsonschema
import pytest
from pydantic import BaseModel, Field, SecretStr
from structlog.testing import capture_logs

from chaos.poison.endings import RESULTS
from chaos.poison.kind import COMPLETED
from pgsched import App, Context, PayloadMismatch, TaskSpec
from pgsched.domain.errors import InvalidTask, ResultMismatch
from pgsched.execution import validators
from pgsched.execution.handler import Handler
from pgsched.execution.outcomes import completed
from pgsched.execution.registry import Registry
from pgsched.flow import step
from pgsched.testing import call
from tests.support.attempts import run
from tests.support.typed import MATRIX, NOON, ONE, REFUSED, Address, Colour, Order, Point, echoing

if TYPE_CHECKING:
    from nowhere import Imagined  # type: ignore[import-not-found]

HANDLERS = echoing({})


def handler_of(function: Callable[..., Any]) -> Handler:
    return Registry().register("mail", function)


# The matrix.


@pytest.mark.parametrize("name", MATRIX)
def test_a_value_becomes_what_the_row_has_and_back(name: str) -> None:
    _, value, stored = MATRIX[name]
    types = HANDLERS.get(name).types  # type: ignore[union-attr]
    assert types is not None
    assert types.encode({"value": value}) == {"value": stored}
    decoded = types.arguments({"value": stored})["value"]
    assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize("name", MATRIX)
def test_what_the_row_has_may_be_given_too(name: str) -> None:
    stored = MATRIX[name][2]
    assert HANDLERS.encode(name, {"value": stored}) == {"value": stored}


@pytest.mark.parametrize("name", MATRIX)
def test_a_result_becomes_json_and_back(name: str) -> None:
    _, value, stored = MATRIX[name]
    result = HANDLERS.get(name).types.result  # type: ignore[union-attr]
    assert result is not None
    text, misfit = result.encode(value)
    assert (json.loads(str(text)), misfit) == (stored, None)
    decoded = result.decode(stored)
    assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize("name", MATRIX)
def test_the_schemas_fit_what_the_row_has(name: str) -> None:
    stored = MATRIX[name][2]
    handler = HANDLERS.get(name)
    assert handler is not None
    schema = handler.payload_schema
    assert schema["properties"].keys() == {"value", "name"}
    jsonschema.validate({"value": stored}, schema)
    jsonschema.validate(stored, handler.result_schema or {})


@pytest.mark.parametrize(("name", "given", "said"), REFUSED)
def test_what_does_not_fit_is_refused_by_path_rule_and_value(name: str, given: Any, said: str) -> None:
    types = HANDLERS.get(name).types  # type: ignore[union-attr]
    assert types is not None
    for check in (types.arguments, types.encode):
        with pytest.raises(PayloadMismatch) as refused:
            check({"value": given})
        assert str(refused.value).startswith(f"payload does not fit handler {name!r}: ")
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


# Handlers.


def test_a_handler_without_annotations_has_no_types() -> None:
    def bare(a, b=1, *, ctx, **more):  # type: ignore[no-untyped-def]
        ...

    def loose(a: Any, b: object, c: Context) -> None: ...

    assert handler_of(bare).types is None
    assert handler_of(loose).types is None


def test_a_parameter_without_a_type_gets_what_the_payload_has() -> None:
    given = {"x": [{"when": "2030-06-01"}]}

    async def handler(day: date, anything: Any, bare=None) -> list[bool]:  # type: ignore[no-untyped-def]
        return [isinstance(day, date), anything is given, bare is given]

    assert run(handler, {"day": "2030-06-01", "anything": given, "bare": given}).result == "[true,true,true]"


def test_an_annotation_that_exists_only_for_type_checkers_counts_as_none() -> None:
    async def handler(picture: Imagined, day: date) -> Imagined:
        return [picture, day.year]

    assert run(handler, {"picture": 5, "day": "2030-06-01"}).result == "[5,2030]"
    assert handler_of(handler).payload_schema["properties"]["picture"] == {}
    assert handler_of(handler).result_schema is None


def test_an_annotation_that_is_no_type_counts_as_none() -> None:
    class Foreign: ...

    async def handler(a, b, day):  # type: ignore[no-untyped-def]
        return [a, b, day.year]

    handler.__annotations__ = {"a": Foreign, "b": "the second one", "day": date, "return": Foreign}
    assert run(handler, {"a": 1, "b": 2, "day": "2030-06-01"}).result == "[1,2,2030]"


def test_a_class_that_comes_after_its_handler_is_found() -> None:
    assert run(early, {"late": {"day": "2030-06-01"}}).result == '"2030-06-01"'


async def early(late: Late) -> date:
    return late.day


class Late(BaseModel):
    day: date


def test_a_local_class_is_found_when_the_handler_mentions_it() -> None:
    class Local(BaseModel):
        n: int

    async def handler(local: Local) -> bool:
        return type(local) is Local

    assert run(handler, {"local": {"n": 1}}).result == "true"


def test_more_arguments_stay_open() -> None:
    async def handler(day: date, **more: int) -> dict[str, Any]:
        return {"day": type(day).__name__, **more}

    assert run(handler, {"day": "2030-06-01", "x": "y"}).result == '{"day":"date","x":"y"}'


def test_a_context_is_passed_beside_typed_arguments() -> None:
    async def handler(day: date, context: Context) -> str:
        return f"{context.task_type} {day:%d.%m.}"

    assert run(handler, {"day": "2030-06-01"}).result == '"mail 01.06."'
    assert handler_of(handler).payload_schema["properties"].keys() == {"day"}


def test_an_alias_of_a_parameter_does_not_rename_the_key() -> None:
    def handler(user: Annotated[int, Field(alias="userId", gt=0)]) -> None: ...

    assert handler_of(handler).encode({"user": 1}) == {"user": 1}
    with pytest.raises(PayloadMismatch, match="user must be greater than 0, got 0"):
        handler_of(handler).encode({"user": 0})


def test_a_misfit_is_dead_at_once_and_names_at_most_ten_faults() -> None:
    async def handler(days: list[date]) -> None: ...

    outcome = run(handler, {"days": ["x"] * 12})
    assert outcome.status == "discarded"
    assert str(outcome.error).count("days[") == 10
    assert str(outcome.error).endswith("; and 2 more")


def test_a_long_value_is_cut_and_an_object_is_not_shown() -> None:
    async def handler(day: date, secret: SecretStr) -> None: ...

    error = str(run(handler, {"day": "9" * 500, "secret": {"password": "hunter2"}}).error)
    assert "hunter2" not in error
    assert len(error) < 400


def test_members_of_a_union_are_one_fault() -> None:
    async def handler(value: int | bool | None) -> None: ...

    assert str(run(handler, {"value": "x"}).error).endswith(': value must be a whole number or true or false, got "x"')


def test_what_a_validator_raises_is_a_failed_attempt() -> None:
    class Broken(BaseModel):
        n: Annotated[int, Field()]

        def model_post_init(self, _context: object) -> None:
            raise RuntimeError("the validator is broken")

    async def handler(value: Broken) -> None:
        _ = Broken

    outcome = run(handler, {"value": {"n": 1}})
    assert (outcome.status, str(outcome.error).split("\n")[0]) == ("failed", "RuntimeError: the validator is broken")


@pytest.mark.parametrize(
    ("annotation", "given", "got"),
    [
        (int, "5", 5),
        (int, 5.0, 5),
        (int, True, 1),
        (float, "1.5", 1.5),
        (float, 2, 2.0),
        (bool, "yes", True),
        (bool, 0, False),
        (Decimal, 1.1, Decimal("1.1")),
        (date, "2030-06-01T00:00:00", date(2030, 6, 1)),
        (datetime, 0, datetime.fromisoformat("1970-01-01T00:00:00+00:00")),
        (set[int], [1, 1], {1}),
    ],
)
def test_values_are_converted_as_pydantic_converts_json(annotation: Any, given: Any, got: Any) -> None:
    def handler(value: Any) -> None: ...

    handler.__annotations__ = {"value": annotation}
    types = handler_of(handler).types
    assert types is not None
    found = types.arguments({"value": given})["value"]
    assert (found, type(found)) == (got, type(got))


@pytest.mark.parametrize("name", MATRIX)
def test_parsed_values_and_text_are_read_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload is validated as it was parsed only where that makes no difference."""
    payload = echoing({}).get(name).types.payload  # type: ignore[union-attr]
    assert payload is not None
    tried = [
        MATRIX[name][2],
        None,
        True,
        0,
        5,
        1.0,
        1.5,
        "5",
        "x",
        "true",
        "2030-06-01",
        [],
        [1],
        ["1"],
        {},
        {"1": "1"},
    ]
    for given in tried:
        found = []
        for parsed in (payload.is_parsed, False):
            monkeypatch.setattr(payload, "is_parsed", parsed)
            try:
                found.append(payload.decode({"value": given}))
            except PayloadMismatch as error:
                found.append(str(error).count("must"))
        assert found[0] == found[1], given
        assert repr(found[0]) == repr(found[1])


# The caller's side.

app = App()


@app.task("ship")
def ship(order: Order, to: Address, at: datetime | None = None, anything: Any = None) -> Point:
    return Point(len(order.items))


ADDRESS = {"street": "s", "since": date(2030, 6, 1)}


def test_what_json_does_not_have_is_refused_by_its_path_where_no_type_says_what_it_is() -> None:
    order = {"id": ONE, "at": NOON, "items": []}
    with pytest.raises(InvalidTask, match=r"payload\['order'\]\['items'\]\[0\] must be JSON"):
        ship.handler.encode({"order": {**order, "items": [object()]}, "to": ADDRESS})
    with pytest.raises(InvalidTask, match=r"payload\['anything'\] must be JSON, got a datetime"):
        TaskSpec(task_type="ship", payload=ship.handler.encode({"order": order, "to": ADDRESS, "anything": NOON}))


def test_nan_in_a_payload_is_refused() -> None:
    def handler(value: float) -> None: ...

    with pytest.raises(InvalidTask, match="NaN"):
        TaskSpec(task_type="mail", payload=handler_of(handler).encode({"value": float("nan")}))


def test_a_step_is_encoded() -> None:
    order = {"id": ONE, "at": NOON, "items": []}
    made = step(ship, {"order": order, "to": ADDRESS})
    assert made.fields["payload"]["order"]["id"] == str(ONE)
    with pytest.raises(PayloadMismatch, match=r"order\.at is missing"):
        step(ship, {"order": {"id": ONE, "items": []}, "to": ADDRESS})


def test_call_checks_and_decodes() -> None:
    order = {"id": ONE, "at": NOON, "items": [{"sku": "a", "price": "1"}]}
    assert call(ship, {"order": order, "to": ADDRESS}).result == {"x": 1, "y": 0.5}
    refused = call(ship, {"order": order, "to": 5}, raises=False)
    assert (refused.outcome, refused.error) == (
        "discarded",
        "payload does not fit handler 'ship': to must be an object, got 5",
    )


def test_a_declared_schedule_is_encoded_and_checked() -> None:
    one = App()

    @one.task("report")
    def report(day: date) -> None: ...

    report.declare({"day": date(2030, 6, 1)}, name="a", cron="0 8 * * *")
    (spec,) = report.handler.schedules
    assert spec.payload == {"day": "2030-06-01"}
    with pytest.raises(PayloadMismatch, match="day must be a date"):
        report.declare({"day": "x"}, name="b", cron="0 8 * * *")


def test_a_set_is_the_same_list_each_time() -> None:
    def handler(names: set[str], kinds: frozenset[Colour] = frozenset(Colour)) -> None: ...

    names = {f"n{number}" for number in range(20)}
    assert handler_of(handler).encode({"names": names}) == {"names": sorted(names)}
    assert handler_of(handler).payload_schema["properties"]["kinds"]["default"] == ["blue", "red"]


# Results.


@dataclass
class Receipt:
    id: UUID
    total: Decimal


def test_a_result_without_an_annotation_is_encoded_by_what_it_is() -> None:
    async def handler():  # type: ignore[no-untyped-def]
        return [Receipt(ONE, Decimal("1.5")), Order(id=ONE, at=NOON, items=[]), {NOON.date()}, b"\xff", Point]

    outcome = run(handler)
    receipt, order, days, octets, foreign = json.loads(outcome.result or "")
    assert receipt == {"id": str(ONE), "total": "1.5"}
    assert order["at"] == "2030-06-01T12:00:00Z"
    assert (days, octets, foreign) == (["2030-06-01"], "_w==", repr(Point))
    assert (outcome.status, outcome.warning) == ("completed", "result[4] is a type, stored as text")


def test_a_result_that_does_not_fit_is_stored_as_it_is_with_a_warning() -> None:
    async def handler() -> Receipt:
        return {"id": "x", "total": NOON}  # type: ignore[return-value]

    outcome = run(handler)
    assert (outcome.status, outcome.result) == ("completed", '{"id":"x","total":"2030-06-01T12:00:00Z"}')
    assert str(outcome.warning).startswith("result does not fit the annotation of handler 'mail': id must be a UUID")


def test_a_result_that_cannot_be_encoded_is_text_with_both_warnings() -> None:
    async def handler() -> list[int]:
        return [1, object()]  # type: ignore[list-item]

    outcome = run(handler)
    assert outcome.status == "completed"
    assert json.loads(outcome.result or "")[0] == 1
    assert "[1] must be a whole number, got a object; result[1] is a object, stored as text" in str(outcome.warning)


def test_a_typed_result_with_what_jsonb_cannot_hold_is_text() -> None:
    async def handler() -> str:
        return "a\x00b"

    outcome = run(handler)
    assert (outcome.status, outcome.result) == ("completed", '"a\\\\x00b"')


@pytest.mark.parametrize("annotation", [dict, dict[int | str, str], Any, list[dict[Any, str]]])
def test_keys_that_are_one_as_text_are_not_merged(annotation: Any) -> None:
    value: Any = {1: "a", "1": "b"}
    if annotation not in (dict, dict[int | str, str], Any):
        value = [value]

    def handler(value):  # type: ignore[no-untyped-def]
        return value

    handler.__annotations__ = {"value": annotation, "return": annotation}
    with pytest.raises(InvalidTask, match="keys"):
        TaskSpec(task_type="mail", payload=handler_of(handler).encode({"value": value}))
    outcome = completed(value, 0, handler_of(handler).types)
    assert (outcome.status, json.loads(outcome.result or "")) == ("completed", repr(value))
    assert "must have keys that differ as text" in str(outcome.warning)


@pytest.mark.parametrize("annotation", [None, dict, str, list[int], datetime])
@pytest.mark.parametrize("name", [name for name, (_, fates) in RESULTS.items() if fates == (COMPLETED,)])
def test_no_result_whatever_it_is_makes_finished_work_dead(name: str, annotation: Any) -> None:
    def handler():  # type: ignore[no-untyped-def]
        ...

    handler.__annotations__ = {} if annotation is None else {"return": annotation}
    outcome = completed(RESULTS[name][0](), 0, handler_of(handler).types)
    assert (outcome.status, outcome.error) == ("completed", None)
    json.loads(outcome.result or "")
    if name != "nan":
        assert outcome.warning is not None


def test_nan_in_a_typed_result_is_text_that_is_read_back() -> None:
    async def handler() -> list[float]:
        return [float("nan"), float("inf")]

    assert run(handler).result == '["NaN","Infinity"]'
    types = handler_of(handler).types
    assert types is not None
    assert types.result is not None
    assert types.result.decode(["Infinity"]) == [float("inf")]


def test_a_stored_result_that_does_not_fit_is_refused() -> None:
    types = ship.handler.types
    assert types is not None
    assert types.result is not None
    with pytest.raises(ResultMismatch, match="handler 'ship': x must be a whole number"):
        types.result.decode({"x": "a"})


# Schemas.


def test_the_schema_has_types_defaults_and_what_is_required() -> None:
    def handler(to: str, copies: Annotated[int, Field(ge=1)] = 1, bare=2, *, point: Point | None = None) -> Point: ...  # type: ignore[no-untyped-def,empty-body]

    schema = handler_of(handler).payload_schema
    definition = schema.pop("$defs")
    assert definition["Point"]["required"] == ["x"]
    assert schema == {
        "type": "object",
        "properties": {
            "bare": {},
            "copies": {"type": "integer", "minimum": 1, "default": 1},
            "point": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}], "default": None},
            "to": {"type": "string"},
        },
        "required": ["to"],
        "additionalProperties": False,
    }
    assert (handler_of(handler).result_schema or {})["properties"]["x"] == {"type": "integer"}


def test_a_type_without_a_schema_costs_the_others_nothing() -> None:
    def handler(call: Callable[[], int], day: date) -> Callable[[], int]: ...  # type: ignore[empty-body]

    assert handler_of(handler).payload_schema["properties"] == {"call": {}, "day": {"type": "string", "format": "date"}}
    assert handler_of(handler).result_schema == {}


def test_types_that_cannot_be_used_together_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(day: date) -> int:
        return len(str(day))

    def fails(*_: object) -> None:
        raise TypeError("not together")

    monkeypatch.setattr(validators, "_object_schema", fails)
    monkeypatch.setattr(validators, "ResultType", fails)
    with capture_logs() as logs:
        assert run(handler, {"day": "x"}).result == "1"
    assert [(one["event"], one["parameter"], one["reason"]) for one in logs] == [
        ("annotation_ignored", "all", "not together"),
        ("annotation_ignored", "return", "not together"),
    ]


def test_the_schema_of_a_handler_without_annotations_has_the_names_only() -> None:
    def handler(to, cc=None):  # type: ignore[no-untyped-def]
        ...

    assert handler_of(handler).payload_schema == {
        "type": "object",
        "properties": {"cc": {}, "to": {}},
        "required": ["to"],
        "additionalProperties": False,
    }
    assert handler_of(handler).result_schema is None


# What it costs.


def test_pydantic_is_imported_with_the_first_types_that_are_used() -> None:
    program = """
import sys, pgsched
app = pgsched.App()
@app.task("typed")
def typed(n: int) -> int: return n
@app.task("bare")
def bare(n): return n
from pgsched.execution import runner
bare.handler.check({"n": 1}); bare.handler.payload_schema, bare.handler.encode({"n": 1})
print("pydantic" in sys.modules)
print(typed.handler.encode({"n": "1"}), "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n{'n': '1'} True\n"
