"""An app whose register is full of types: what applications have, and names that nobody should give."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from pgsched import App
from pgsched.ops.generate.registered import TaskType, of_entries
from pgsched.worker.registration import entries

app = App(version="2030.1")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    count: int = 1
    price: Decimal | None = None


class Node(BaseModel):
    name: str
    children: list[Node] = []


@app.task("mail.send")
def send(to: str, cc: list[str] = [], when: datetime | None = None) -> None:  # noqa: B006
    """Send a mail.

    It is sent once.
    """


@app.task("order.place", max_attempts=5, strict=True)
def place(
    number: int,
    lines: list[Line],
    colour: Colour,
    mode: Literal["fast", "slow"] = "fast",
    extra: dict[str, Any] = {},  # noqa: B006
    buyer: UUID | None = None,
    day: date = date(2030, 1, 1),
    pair: tuple[int, str] = (1, "x"),
    tree: Node | None = None,
    weight: float = 1.5,
    wait: timedelta = timedelta(0),
    either: int | str = 1,
) -> int:
    """Place an order."""
    return number


@app.task("open")
def open_(**payload: Any) -> None:
    """Take anything."""


@app.task("*")
def others(**payload: Any) -> None:
    """Take whatever nobody else has."""


HOSTILE_TEXT = '*/ process.exit(1); /* "`${evil}` \\ \u2028 \n\r\x00\u202e */'
_LOOP = {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}, "B": {"$ref": "#/$defs/A"}}}
HOSTILE = (
    ('"; drop table x; --', {"type": "object", "properties": {HOSTILE_TEXT: {"const": HOSTILE_TEXT}}}),
    ("mail send", {"type": "object", "properties": {"class": {"type": "string"}}, "required": ["class"]}),
    ("mail-send", None),
    ("почта", {"type": "object", "properties": {"кому": {"type": "string"}, "Кому": {"type": "integer"}}}),
    ("delete", {"type": "object", "properties": {"-": {"type": "string"}, "a": {}, "A": {}}, "required": ["-"]}),
    ("123", {"type": "object", "properties": {"a": {"$ref": "https://elsewhere/x"}, "b": False}}),
    ("loop", {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, **_LOOP}),
    ("self", {"$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}, "required": ["n"]}}, "$ref": "#/$defs/N"}),
    ("task", {"$defs": {"Options": {"type": "string"}, "Id": {"enum": []}}, "type": "object"}),
    ("deep", {"type": "object", "properties": {"d": {"type": "array"}}}),
    ("nonsense", {"type": 7, "properties": [], "anyOf": "x", "required": 1, "$defs": []}),
)


def deep(depth: int) -> dict[str, Any]:
    """A schema of lists in lists."""
    made: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        made = {"type": "array", "items": made}
    return {"type": "object", "properties": {"d": made}, "required": ["d"]}


def all_types() -> list[TaskType]:
    """Those of the app, and hostile ones."""
    hostile = [
        {
            "task_type": name,
            "payload_schema": deep(100) if name == "deep" else schema,
            "description": HOSTILE_TEXT,
        }
        for name, schema in HOSTILE
    ]
    return of_entries([*entries(app.registry), *hostile])
