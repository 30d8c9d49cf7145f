"""A form generated from the schema of a payload: its fields, their texts, and the resulting payload. Pure."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import read_object, read_value

PREFIX: Final = "p."
"""Prefix of the names of its fields; the field with the prefix alone has all keys outside the schema."""
MAX_FIELDS: Final = 200
"""A payload with more keys is edited as JSON."""
_DEPTH: Final = 8
"""Maximum depth of references that are followed."""
_LONGEST_SHOWN: Final = 60
_FORMATS: Final = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00",
    "duration": "PT15M",
    "uuid": "4f9d2c9c-6a3e-4f43-9a5e-0f8f3f1f5a10",
    "email": "ada@example.org",
    "uri": "https://example.org",
}
_BOUNDS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "exclusiveMinimum": ("more than", operator.gt),
    "exclusiveMaximum": ("less than", operator.lt),
}
_NAMED: Final = re.compile(r"argument '([^']*)'")


class FieldError(ValueError):
    """An invalid text of a field."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key of a payload."""

    key: str
    kind: str
    """``text``, ``integer``, ``number``, ``boolean``, ``choice`` or ``json``."""
    required: bool
    description: str
    hint: str
    """Its type and limits, in words."""
    default: str | None
    """The handler's default as JSON; None: unknown."""
    choices: Sequence[Any] = ()
    placeholder: str = ""
    schema: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name in the form."""
        return PREFIX + self.key

    @property
    def options(self) -> list[str]:
        """The texts to choose from."""
        return ["true", "false"] if self.kind == "boolean" else [_text(one) for one in self.choices]

    def read(self, text: str) -> Any:
        """Return the value of a text. Raises FieldError."""
        if self.kind == "text":
            return self._checked_text(text.replace("\r\n", "\n"))
        given = text.strip()
        if self.kind in ("boolean", "choice"):
            found = [one for one in self.choices or (True, False) if _text(one) == given]
            if not found:
                raise FieldError(f"must be one of {', '.join(self.options)}, got {_cut(given)}")
            return found[0]
        if self.kind == "json":
            try:
                return read_value(given, self.key)
            except InvalidTask as error:
                raise FieldError(f"must be JSON: {error}") from None
        return self._checked_number(_number(given, whole=self.kind == "integer"))

    def text_of(self, value: Any) -> str | None:
        """Return a value as the text of a field; None where no text can represent it."""
        if self.kind == "json":
            return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict | list) and value else None)
        if self.kind == "text":
            return value if isinstance(value, str) and value else None
        if self.kind in ("boolean", "choice"):
            fits = any(type(one) is type(value) and one == value for one in self.choices or (True, False))
            return _text(value) if fits else None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return _text(value) if is_number and (self.kind == "number" or value == int(value)) else None

    def _checked_text(self, text: str) -> str:
        least, most = self.schema.get("minLength", 0), self.schema.get("maxLength", math.inf)
        if not least <= len(text) <= most:
            raise FieldError(f"must have {_between(least or None, most)} characters, got {len(text)}")
        return text

    def _checked_number(self, value: float) -> float:
        for name, (words, fits) in _BOUNDS.items():
            bound = self.schema.get(name)
            if isinstance(bound, int | float) and not fits(value, bound):
                raise FieldError(f"must be {words} {bound}, got {value}")
        return value


@dataclass(frozen=True, kw_only=True)
class PayloadForm:
    """The fields of a type's payload."""

    fields: Sequence[Field]
    is_open: bool
    """Whether other keys are allowed."""

    def read(self, form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the payload of a filled form, and the errors by field name."""
        payload: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for field in self.fields:
            text = form.get(field.name, "")
            if not text.strip():
                if field.required:
                    errors[field.name] = "is required"
                continue
            try:
                payload[field.key] = field.read(text)
            except FieldError as error:
                errors[field.name] = str(error)
        if self.is_open and (more := form.get(PREFIX, "").strip()):
            try:
                others = read_object(more, "more keys")
            except InvalidTask as error:
                errors[PREFIX] = str(error)
            else:
                named = sorted({field.key for field in self.fields} & others.keys())
                if named:
                    errors[PREFIX] = f"{named[0]!r} has a field of its own"
                payload |= others
        return payload, errors

    def texts_of(self, payload: Mapping[str, Any]) -> dict[str, str] | None:
        """Return a payload as the texts of the fields; None where only JSON can represent it."""
        texts: dict[str, str] = {}
        by_key = {field.key: field for field in self.fields}
        others = {key: value for key, value in payload.items() if key not in by_key}
        if others and not self.is_open:
            return None
        for key, field in by_key.items():
            if key in payload:
                text = field.text_of(payload[key])
                if text is None:
                    return None
                texts[field.name] = text
        if others:
            texts[PREFIX] = json.dumps(others, ensure_ascii=False, indent=2)
        return texts


def form_of(schema: Mapping[str, Any] | None) -> PayloadForm | None:
    """Return the form of a payload with this schema; None where the schema describes no key."""
    if schema is None or not isinstance(schema.get("properties"), Mapping) or len(schema["properties"]) > MAX_FIELDS:
        return None
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    properties = {key: one for key, one in schema["properties"].items() if key}
    is_open = schema.get("additionalProperties") is not False
    if not properties and is_open:
        return None
    definitions = schema.get("$defs")
    known = definitions if isinstance(definitions, Mapping) else {}
    # Required keys first, then in the order of the schema.
    ordered = sorted(properties, key=lambda key: key not in needed)
    return PayloadForm(fields=[_field(key, properties[key], known, key in needed) for key in ordered], is_open=is_open)


def field_of_error(message: str, form: PayloadForm) -> str | None:
    """Return the name of the field that a database error is about; None when it is about none."""
    found = _NAMED.search(message)
    return next((one.name for one in form.fields if found is not None and one.key == found[1]), None)


def _field(key: str, given: Any, definitions: Mapping[str, Any], required: bool) -> Field:
    schema = _resolved(given, definitions)
    plain, may_be_null = _without_null(schema, definitions)
    kind, choices = _kind(plain)
    default = schema.get("default", ...)
    description = schema.get("description") or plain.get("description")
    return Field(
        key=key,
        kind=kind,
        required=required and not may_be_null,
        description=description if isinstance(description, str) else "",
        hint=_hint(kind, plain),
        default=None if default is ... or default is None else json.dumps(default, ensure_ascii=False)[:_LONGEST_SHOWN],
        choices=choices,
        placeholder=_FORMATS.get(str(plain.get("format")), ""),
        schema=plain,
    )


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a reference names, merged with the keywords next to it."""
    for _ in range(_DEPTH):
        if not isinstance(schema, Mapping):
            return {}
        name = schema.get("$ref")
        if not isinstance(name, str):
            return schema
        named = definitions.get(name.removeprefix("#/$defs/"))
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**named, **beside} if isinstance(named, Mapping) else beside
    return {}


def _without_null(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return the schema of the values that are not null, and whether null is allowed."""
    kinds = schema.get("type")
    if isinstance(kinds, list) and "null" in kinds:
        others = [one for one in kinds if one != "null"]
        return {**schema, "type": others[0] if len(others) == 1 else others}, True
    ways = schema.get("anyOf")
    if isinstance(ways, list):
        found = [_resolved(one, definitions) for one in ways]
        others_of = [one for one in found if one.get("type") != "null"]
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        if len(others_of) == 1:
            return {**others_of[0], **beside}, len(others_of) < len(found)
        return schema, len(others_of) < len(found)
    return schema, False


def _kind(schema: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    if "const" in schema and isinstance(schema["const"], str | int | float):
        return "choice", [schema["const"]]
    words = schema.get("enum")
    if isinstance(words, list) and words and all(isinstance(one, str | int | float) for one in words):
        return "choice", words
    match schema.get("type"):
        case "string":
            return "text", ()
        case "integer" | "number" | "boolean" as kind:
            return str(kind), ()
    return "json", ()


def _hint(kind: str, schema: Mapping[str, Any]) -> str:
    said = schema.get("format") or schema.get("type")
    words = [str(said).replace("-", " ")] if isinstance(said, str) and kind != "choice" else []
    if kind == "json":
        words = [f"JSON: {said}" if isinstance(said, str) else "JSON"]
    for least, most, what in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        low, high = schema.get(least), schema.get(most)
        if low is not None or high is not None:
            words.append(f"{_between(low, math.inf if high is None else high)}{what}")
    if isinstance(schema.get("exclusiveMinimum"), int | float):
        words.append(f"more than {schema['exclusiveMinimum']}")
    if isinstance(schema.get("exclusiveMaximum"), int | float):
        words.append(f"less than {schema['exclusiveMaximum']}")
    if isinstance(schema.get("pattern"), str):
        words.append(f"matching {schema['pattern'][:_LONGEST_SHOWN]}")
    return ", ".join(words)


def _between(least: float | None, most: float) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most == math.inf else f"{least} to {most}"


def _number(text: str, *, whole: bool) -> float:
    try:
        if whole or re.fullmatch(r"[+-]?\d{1,300}", text, re.ASCII):
            if len(text) > 300:
                raise ValueError
            return int(text)
        found = float(text)
    except ValueError:
        raise FieldError(f"must be a {'whole ' if whole else ''}number, got {_cut(text)}") from None
    if not math.isfinite(found):
        raise FieldError(f"must be a number, got {_cut(text)}")
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
