"""What generators ask a JSON Schema. A schema may come from any program: what is not understood is any value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 20
"""What is nested deeper is any value."""
_PREFIX: Final = "#/$defs/"


def definitions(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the named parts of a schema, in the order of their names."""
    found = (schema or {}).get("$defs")
    return {name: found[name] for name in sorted(found)} if isinstance(found, Mapping) else {}


def declared(schema: Mapping[str, Any] | None, declare: Callable[[str, Any], str]) -> str:
    """Return the declarations of a payload's type: its parts by their keys, then the whole by an empty key."""
    parts = [declare(f"$defs/{name}", part) for name, part in definitions(schema).items()]
    return "\n\n".join([*parts, declare("", {"type": "object"} if schema is None else schema)])


def name_of_ref(schema: Mapping[str, Any]) -> str | None:
    """Return the name of the definition that a schema refers to; None when it refers to none."""
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref.startswith(_PREFIX):
        return ref.removeprefix(_PREFIX).replace("~1", "/").replace("~0", "~")
    return None


def alternatives(schema: Mapping[str, Any]) -> list[Any] | None:
    """Return the schemas of which a value fits one; None when the schema is not of that kind."""
    for name in ("anyOf", "oneOf"):
        found = schema.get(name)
        if isinstance(found, list) and found:
            return found
    kinds = schema.get("type")
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) and kinds else None


def is_null(schema: Any) -> bool:
    """Whether null is the one value that fits."""
    return isinstance(schema, Mapping) and (schema.get("type") == "null" or schema == {"const": None})


def properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of the keys of an object."""
    found = schema.get("properties")
    return {str(name): one for name, one in found.items()} if isinstance(found, Mapping) else {}


def required(schema: Mapping[str, Any]) -> set[str]:
    """Return the keys that an object must have."""
    found = schema.get("required")
    return {str(one) for one in found} if isinstance(found, list) else set()


def loops(defs: Mapping[str, Any]) -> set[str]:
    """Return the definitions that are nothing but themselves, by references and alternatives alone."""
    return _reaching_themselves({name: set(_direct(one)) & defs.keys() for name, one in defs.items()})


def recursive(defs: Mapping[str, Any]) -> set[str]:
    """Return the definitions that contain themselves, at any depth."""
    return _reaching_themselves({name: set(_all(one)) & defs.keys() for name, one in defs.items()})


def _reaching_themselves(edges: Mapping[str, set[str]]) -> set[str]:
    found = set()
    for start in edges:
        seen: set[str] = set()
        ahead = set(edges[start])
        while ahead:
            one = ahead.pop()
            if one not in seen:
                seen.add(one)
                ahead |= edges[one]
        if start in seen:
            found.add(start)
    return found


def _direct(schema: Any) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    if (name := name_of_ref(schema)) is not None:
        yield name
    for word in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(word)
        for part in parts if isinstance(parts, list) else ():
            yield from _direct(part)


def _all(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if (name := name_of_ref(value)) is not None:
            yield name
        for one in value.values():
            yield from _all(one)
    elif isinstance(value, list):
        for one in value:
            yield from _all(one)
