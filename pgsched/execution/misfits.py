"""Faults of a value by path, rule and value, in one line, from pydantic's errors."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pydantic import ValidationError

MAX_FAULTS: Final = 10
"""Maximum number of faults that are named."""
_LONGEST_VALUE = 60
_LONGEST_PATH = 200

_RULES: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "dataclass_type": "must be an object",
    "none_required": "must be null",
    "bytes_type": "must be base64",
    "bytes_invalid_encoding": "must be base64",
    "datetime_type": "must be a date and time",
    "datetime_parsing": "must be a date and time",
    "datetime_from_date_parsing": "must be a date and time",
    "datetime_object_invalid": "must be a date and time",
    "timezone_aware": "must have a time zone",
    "timezone_naive": "must have no time zone",
    "date_type": "must be a date",
    "date_parsing": "must be a date",
    "date_from_datetime_parsing": "must be a date",
    "date_from_datetime_inexact": "must be a date without a time",
    "time_type": "must be a time of day",
    "time_parsing": "must be a time of day",
    "time_delta_type": "must be a duration",
    "time_delta_parsing": "must be a duration",
    "uuid_type": "must be a UUID",
    "uuid_parsing": "must be a UUID",
    "decimal_type": "must be a decimal number",
    "decimal_parsing": "must be a decimal number",
}
_SUBJECT = re.compile(r"^(?:\w+ ){1,3}(?:should|must) ")


def faults_of(error: ValidationError, given: object) -> str:
    """Return at most MAX_FAULTS faults of a value, as ``items[2].price must be a number, got "x"``."""
    rules: dict[str, dict[str, None]] = {}
    values: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False):
        path = _path(fault["loc"], given, is_missing=fault["type"] == "missing")
        rules.setdefault(path, {})[_rule(fault["type"], fault["msg"])] = None
        if fault["type"] != "missing":
            values.setdefault(path, f", got {_shown(fault['input'])}")
    lines = [f"{path} {_joined(list(said))}{values.get(path, '')}".strip() for path, said in rules.items()]
    more = [f"and {len(lines) - MAX_FAULTS} more"] if len(lines) > MAX_FAULTS else []
    return "; ".join(lines[:MAX_FAULTS] + more)


def _rule(kind: str, message: str) -> str:
    if kind in _RULES:
        return _RULES[kind]
    message = " ".join(message.split())
    if kind in ("value_error", "assertion_error"):
        return f"is refused: {message.partition(', ')[2]}"
    changed = _SUBJECT.sub("must ", message)
    return changed if changed != message else f"is refused: {message}"


def _joined(rules: list[str]) -> str:
    """The rules that one value breaks; each member of a union has its own."""
    first, *others = rules
    return " or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _path(places: tuple[int | str, ...], given: Any, *, is_missing: bool) -> str:
    """The path of a fault. Members of unions and the like, which pydantic names as well, are left out."""
    path = ""
    for at, place in enumerate(places):
        last = at == len(places) - 1
        if isinstance(given, dict) and (place in given or (is_missing and last)):
            key = str(place)
            path += (f".{key}" if path else key) if key.isidentifier() else f"[{key[:50]!r}]"
            given = given.get(place)
        elif isinstance(given, list | tuple) and isinstance(place, int):
            path += f"[{place}]"
            given = given[place] if place < len(given) else None
        elif place == "[key]":
            path += " (a key)"
    return path[:_LONGEST_PATH] or "it"


def _shown(value: object) -> str:
    """A value in a message: text and numbers as JSON, for others their type."""
    if value is None or isinstance(value, str | int | float):
        try:
            text = json.dumps(value[: _LONGEST_VALUE + 1] if isinstance(value, str) else value, ensure_ascii=False)
        except ValueError:
            return "a number with too many digits"
        return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
