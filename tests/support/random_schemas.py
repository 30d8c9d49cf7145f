"""Types with schemas drawn by chance: the words of JSON Schema that generators read, used rightly and wrongly."""

from __future__ import annotations

import random
from typing import Any

from pgsched.ops.generate.registered import TaskType, of_entries

DEFS = ("D1", "d 2", "D*/3", "Self")
NAMES = (
    *("a", "B", "class", "type", "x-y", "é", "", "1", "-", "a b", "string", "any", "interface", 'q"', "back`tick"),
    *("new\nline", "__proto__", "constructor"),
)


def random_types(seed: int, number: int = 150) -> list[TaskType]:
    """So many types, the same for the same seed."""
    dice = random.Random(seed)
    entries = []
    for place in range(number):
        whole = _schema(dice)
        schema = {**(whole if isinstance(whole, dict) else {}), "$defs": {name: _schema(dice) for name in DEFS}}
        name = f"t{place}{dice.choice(['', '.a', '-B', ' é'])}"
        entries.append({"task_type": name, "payload_schema": schema, "description": "*/"})
    return of_entries(entries)


def _schema(dice: random.Random, depth: int = 0) -> Any:
    plain = [
        {"type": "string"},
        {"type": dice.choice(["integer", "number", "boolean", "null", "foo", 3, None])},
        {"enum": dice.choice([["a", "b"], [1, 2], [None], [], ["a", 1, {"x": 1}], [True, "*/"]])},
        {"const": dice.choice(["a", 1, None, {"a": 1}, [1]])},
        {"$ref": "#/$defs/" + dice.choice([*DEFS, "Nope"])},
        dice.choice([True, False, {}, None, [], "x"]),
        {"type": "string", "format": dice.choice(["date-time", "date", "uuid"])},
        {"type": ["string", "null"]},
    ]
    if depth > 3 or dice.random() < 0.5:
        return dice.choice(plain)
    kind = dice.randrange(5)
    if kind == 0:
        return {"type": "array", "items": _schema(dice, depth + 1)}
    if kind == 1:
        both = [_schema(dice, depth + 1), _schema(dice, depth + 1)]
        return {"type": "array", "prefixItems": both, "minItems": 2, "maxItems": 2}
    if kind == 2:
        parts = [_schema(dice, depth + 1) for _ in range(dice.randrange(4))]
        return {dice.choice(["anyOf", "oneOf", "allOf"]): parts}
    if kind == 3:
        return {"type": "object", "additionalProperties": _schema(dice, depth + 1)}
    names = dice.sample(NAMES, dice.randrange(5))
    made: dict[str, Any] = {"type": "object", "properties": {name: _schema(dice, depth + 1) for name in names}}
    if dice.random() < 0.5:
        made["required"] = dice.sample(names, dice.randrange(len(names) + 1))
    if dice.random() < 0.5:
        made["additionalProperties"] = dice.choice([True, False, {"type": "string"}])
    return made
