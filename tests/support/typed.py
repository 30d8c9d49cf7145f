"""A matrix of types: what a program gives, what the row has, and what is refused."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional
from uuid import UUID

import annotated_types
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from pgsched.execution.registry import Registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Size(NamedTuple):
    width: int
    height: int


class Address(TypedDict):
    street: str
    since: date


class Item(BaseModel):
    sku: str
    price: Decimal


class Order(BaseModel):
    id: UUID
    at: datetime
    items: list[Item]
    note: str | None = None

    @field_validator("note")
    @classmethod
    def _not_rude(cls, note: str | None) -> str | None:
        if note == "rude":
            raise ValueError("rude notes are not taken")
        return note


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")


class Tree(BaseModel):
    name: str
    inner: list[Tree] = []


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Transfer(BaseModel):
    kind: Literal["transfer"] = "transfer"
    iban: str


NOON = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)
ONE = UUID(int=1)
ORDER = Order(id=ONE, at=NOON, items=[Item(sku="a", price=Decimal("1.10"))])

MATRIX: dict[str, tuple[Any, Any, Any]] = {
    # name: annotation, the value in Python, the same in the row
    "boolean": (bool, True, True),
    "whole": (int, 2**60, 2**60),
    "number": (float, 0.25, 0.25),
    "text": (str, "grüße", "grüße"),
    "octets": (bytes, b"\xff\x00\xfe", "_wD-"),
    "instant": (datetime, NOON, "2030-06-01T12:00:00Z"),
    "zoned": (AwareDatetime, NOON, "2030-06-01T12:00:00Z"),
    "day": (date, date(2030, 6, 1), "2030-06-01"),
    "clock": (time, time(9, 30), "09:30:00"),
    "span": (timedelta, timedelta(days=1, seconds=2), "P1DT2S"),
    "uuid": (UUID, ONE, str(ONE)),
    "decimal": (Decimal, Decimal("12345678901234567890.10"), "12345678901234567890.10"),
    "enum": (Colour, Colour.BLUE, "blue"),
    "int_enum": (Level, Level.HIGH, 2),
    "path": (Path, Path("/tmp/a"), "/tmp/a"),
    "ip": (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1"), "10.0.0.1"),
    "literal": (Literal["a", 1], "a", "a"),
    "optional": (Optional[date], None, None),  # noqa: UP045 - that spelling is to be understood, too
    "union": (UUID | int | str, ONE, str(ONE)),
    "tagged": (
        Annotated[Card | Transfer, Field(discriminator="kind")],
        Transfer(iban="x"),
        {"kind": "transfer", "iban": "x"},
    ),
    "between": (Annotated[int, annotated_types.Interval(ge=1, le=9)], 9, 9),
    "list": (list[date], [date(2030, 6, 1)], ["2030-06-01"]),
    "set": (set[int], {1, 2}, [1, 2]),
    "frozen": (frozenset[str], frozenset({"a"}), ["a"]),
    "tuple": (tuple[int, date], (1, date(2030, 6, 1)), [1, "2030-06-01"]),
    "dict": (dict[str, Decimal], {"a": Decimal("1.5")}, {"a": "1.5"}),
    "int_keys": (dict[int, UUID], {7: ONE}, {"7": str(ONE)}),
    "dataclass": (Point, Point(1, 2.5), {"x": 1, "y": 2.5}),
    "named_tuple": (Size, Size(3, 4), [3, 4]),
    "typed_dict": (Address, {"street": "s", "since": date(2030, 6, 1)}, {"street": "s", "since": "2030-06-01"}),
    "model": (
        Order,
        ORDER,
        {
            "id": str(ONE),
            "at": "2030-06-01T12:00:00Z",
            "items": [{"sku": "a", "price": "1.10"}],
            "note": None,
        },
    ),
    "strict_model": (Strict, Strict(at=NOON), {"at": "2030-06-01T12:00:00Z"}),
    "aliased": (Aliased, Aliased(userId=3), {"userId": 3}),
    "tree": (Tree, Tree(name="a", inner=[Tree(name="b")]), {"name": "a", "inner": [{"name": "b", "inner": []}]}),
    "bytes_in_list": (list[bytes], [b"\xff"], ["_w=="]),
}

REFUSED: list[tuple[str, Any, str]] = [
    # name, a value as a row may have it, what the error says after "payload does not fit handler 'NAME': "
    ("boolean", "perhaps", 'value must be true or false, got "perhaps"'),
    ("whole", "x", 'value must be a whole number, got "x"'),
    ("whole", 1.5, "value must be a whole number, got 1.5"),
    ("number", [1], "value must be a number, got a list"),
    ("text", 5, "value must be text, got 5"),
    ("octets", "é", 'value must be base64, got "é"'),
    ("instant", "soon", 'value must be a date and time, got "soon"'),
    ("zoned", "2030-06-01T12:00:00", "value must have a time zone"),
    ("day", "2030-06-31", "value must be a date"),
    ("span", "a while", "value must be a duration"),
    ("uuid", "1", "value must be a UUID"),
    ("decimal", "1,5", "value must be a decimal number"),
    ("enum", "green", "value must be 'red' or 'blue', got \"green\""),
    ("literal", "b", "value must be 'a' or 1, got \"b\""),
    ("optional", "x", "value must be a date"),
    ("union", [], "value must be a UUID or a whole number or text, got a list"),
    ("tagged", {"kind": "cash"}, "value is refused: "),
    ("tagged", {"kind": "card"}, "value.number is missing"),
    ("between", 10, "value must be less than or equal to 9, got 10"),
    ("list", ["2030-06-01", "x"], "value[1] must be a date"),
    ("set", {}, "value must be a list, got an object"),
    ("tuple", [1], "value[1] is missing"),
    ("dict", {"a": "x"}, "value.a must be a decimal number"),
    ("int_keys", {"x": str(ONE)}, "value.x (a key) must be a whole number"),
    ("dataclass", {"y": 1}, "value.x is missing"),
    ("named_tuple", [1, "b"], 'value[1] must be a whole number, got "b"'),
    ("typed_dict", {"street": 1, "since": "2030-06-01"}, "value.street must be text, got 1"),
    (
        "model",
        {"id": str(ONE), "at": "2030-06-01T12:00:00Z", "items": [{"sku": "a", "price": "x"}]},
        'value.items[0].price must be a decimal number, got "x"',
    ),
    (
        "model",
        {"id": str(ONE), "at": "2030-06-01T12:00:00Z", "items": [], "note": "rude"},
        'value.note is refused: rude notes are not taken, got "rude"',
    ),
    ("strict_model", {"at": 5}, "value.at must be a date and time"),
    ("tree", {"name": "a", "inner": [{"name": 1}]}, "value.inner[0].name must be text, got 1"),
]


def echoing(seen: dict[str, Any]) -> Registry:
    """Handlers by names of the matrix that note what they get and return it; every second one is no coroutine."""
    registry = Registry()
    for number, (name, (annotation, _, _)) in enumerate(MATRIX.items()):

        def plain(value: Any, name: str = name) -> Any:
            seen[name] = value
            return value

        async def on_loop(value: Any, name: str = name) -> Any:
            seen[name] = value
            return value

        function: Any = plain if number % 2 else on_loop
        function.__annotations__ = {"value": annotation, "return": annotation}
        registry.register(name, function)
    return registry
