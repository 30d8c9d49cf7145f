"""A Go file with a function for each type of task, over ``database/sql`` or ``pgx``, without a dependency."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pgsched.ops.generate import options, schemas
from pgsched.ops.generate.go_runtime import RUNTIME
from pgsched.ops.generate.names import comment_lines, distinct, pascal
from pgsched.ops.generate.options import Kind
from pgsched.ops.generate.registered import TaskType

ANY: Final = "any"
_KINDS: Final[dict[Kind, str]] = {
    "text": "string",
    "integer": "int",
    "number": "*float64",
    "boolean": "*bool",
    "time": "time.Time",
    "interval": "Interval",
    "texts": "[]string",
    "id": "int64",
    "ids": "[]int64",
    "object": "map[string]any",
}
_SIMPLE: Final = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
RESERVED: Final = ("Interval", "Seconds", "Row", "Querier", "SQL", "Pgx", "Unique", "Options", "Scheduled", "Schedule")
_TAG: Final = re.compile(r"[A-Za-z0-9 !#$%&()*+\-./:;<=>?@\[\]^_{|}~]+")
"""Keys that encoding/json takes in the tag of a field."""


def go(types: Sequence[TaskType], *, version: int, package: str) -> str:
    """Return the file; ``version`` is that of the schema of pgsched."""
    wanted: dict[tuple[str, str], str] = {}
    for one in types:
        wanted[one.task_type, ""] = f"{pascal(one.task_type)}Payload"
        wanted[one.task_type, "()"] = f"Schedule{pascal(one.task_type)}"
        wanted |= {
            (one.task_type, f"$defs/{name}"): pascal(one.task_type) + pascal(name)
            for name in schemas.definitions(one.payload_schema)
        }
    names = distinct(wanted, RESERVED)
    runtime = RUNTIME.replace("%PACKAGE%", package).replace("%OPTIONS%", _options()).replace("%FIELDS%", _fields())
    runtime = runtime.replace("%VERSION%", str(version)).replace("%NUMBER%", str(len(types)))
    for name, statement in (("SCHEDULE", options.SCHEDULE), ("BY_KEY", options.BY_KEY), ("UNIQUE", options.UNIQUE)):
        runtime = runtime.replace(f"%{name}%", f"`{statement}`")
    parts = [runtime]
    for one in types:
        parts += [_Types(one, names).declarations(), _function(one, names)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _options() -> str:
    lines = []
    for one in options.OPTIONS:
        lines += [f"\t// {one.says}", f"\t{_field(one.name)} {_KINDS[one.kind]}"]
    return "\n".join(lines)


def _fields() -> str:
    made = {
        "text": '\tif o.{field} != "" {{\n\t\ttask["{name}"] = o.{field}\n\t}}',
        "integer": '\tif o.{field} != 0 {{\n\t\ttask["{name}"] = o.{field}\n\t}}',
        "time": '\tif !o.{field}.IsZero() {{\n\t\ttask["{name}"] = o.{field}\n\t}}',
        "number": '\tif o.{field} != nil {{\n\t\ttask["{name}"] = o.{field}\n\t}}',
    }
    made |= {"interval": made["text"], "id": made["integer"]}
    made |= dict.fromkeys(("boolean", "texts", "ids", "object"), made["number"])
    return "\n".join(made[one.kind].format(field=_field(one.name), name=one.name) for one in options.OPTIONS)


def _field(name: str) -> str:
    return "".join("ID" if word == "id" else word.capitalize() for word in name.split("_"))


def _comment(lines: Sequence[str]) -> list[str]:
    return [f"// {line}".rstrip() for line in lines]


def _function(one: TaskType, names: Mapping[tuple[str, str], str]) -> str:
    name = names[one.task_type, "()"]
    said = [*comment_lines(f"{name} schedules a task of the type {one.task_type}.")]
    said += ["", *comment_lines(one.description)] if one.description else []
    parameters = f"ctx context.Context, db Querier, payload {names[one.task_type, '']}, options Options"
    return "\n".join(
        [
            *_comment(said),
            f"func {name}({parameters}) (Scheduled, error) {{",
            f"\treturn schedule(ctx, db, {go_text(one.task_type)}, payload, options)",
            "}",
        ]
    )


def go_text(text: str) -> str:
    """A text as a literal of Go: of ASCII, with what lies beyond it as its code points."""
    made = []
    for char in text:
        if char in '"\\':
            made.append("\\" + char)
        elif char.isascii() and char.isprintable():
            made.append(char)
        else:
            made.append(f"\\U{ord(char):08x}")
    return f'"{"".join(made)}"'


class _Types:
    """The types of one payload."""

    def __init__(self, one: TaskType, names: Mapping[tuple[str, str], str]) -> None:
        self._one = one
        self._names = names
        self._defs = schemas.definitions(one.payload_schema)
        self._loops = schemas.loops(self._defs)
        self._recursive = schemas.recursive(self._defs)

    def declarations(self) -> str:
        """The type of the payload, after those that it is made of."""
        return schemas.declared(self._one.payload_schema, self._declared)

    def _declared(self, key: str, schema: Any) -> str:
        name = self._names[self._one.task_type, key]
        of = f"the payload of {self._one.task_type}" if not key else f"a part of the payload of {self._one.task_type}"
        kind = ANY if key and key.removeprefix("$defs/") in self._loops else self.type_of(schema, 0)
        return "\n".join([*_comment(comment_lines(f"{name} is {of}.")), f"type {name} {kind}"])

    def type_of(self, schema: Any, depth: int) -> str:
        """The type of the values that fit a schema, or a wider one."""
        if not isinstance(schema, Mapping) or depth > schemas.MAX_DEPTH:
            return ANY
        if "$ref" in schema:
            return self._referred(schemas.name_of_ref(schema))
        parts = schemas.alternatives(schema)
        if parts is not None:
            others = [part for part in parts if not schemas.is_null(part)]
            kind = self.type_of(others[0], depth + 1) if len(others) == 1 else ANY
            return _pointer(kind) if len(others) < len(parts) else kind
        if "allOf" in schema:
            return ANY
        return self._plain(schema, depth)

    def _referred(self, name: str | None) -> str:
        found = self._names.get((self._one.task_type, f"$defs/{name}"))
        if found is None or name is None:
            return ANY
        return f"*{found}" if name in self._recursive and name not in self._loops else found

    def _plain(self, schema: Mapping[str, Any], depth: int) -> str:
        kind = schema.get("type")
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if isinstance(schema.get("enum"), list) else [schema.get("const")]
            return "string" if all(isinstance(value, str) for value in values) else ANY
        if kind == "array":
            return "[]any" if "prefixItems" in schema else f"[]{self.type_of(schema.get('items', True), depth + 1)}"
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "string" and schema.get("format") == "date-time":
            return "time.Time"
        return _SIMPLE.get(kind, ANY) if isinstance(kind, str) else ANY

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        known, needed = schemas.properties(schema), schemas.required(schema)
        others = schema.get("additionalProperties", True)
        is_open = others is not False and "additionalProperties" in schema
        if not known and others is not False:
            return f"map[string]{self.type_of(others, depth + 1)}"
        if is_open or not all(_TAG.fullmatch(name) for name in known):
            return "map[string]any"  # a struct has no place for other keys, and its tags none for such names
        fields = distinct({name: pascal(name) for name in known})
        rows = []
        for name, one in known.items():
            kind = self.type_of(one, depth + 1)
            mark = "," if name == "-" else ""
            if name not in needed:
                kind, mark = _pointer(kind), ",omitempty"
            rows.append((fields[name], kind, f"`json:{json.dumps(name + mark)}`"))
        if depth or not rows:
            return f"struct {{ {'; '.join(map(' '.join, rows))} }}" if rows else "struct{}"
        first, second = (max(len(row[place]) for row in rows) for place in (0, 1))  # in columns, as gofmt has them
        lines = (f"\t{name:{first}} {kind:{second}} {tag}" for name, kind, tag in rows)
        return "\n".join(["struct {", *lines, "}"])


def _pointer(kind: str) -> str:
    """A type whose nil says that there is no value."""
    return kind if kind == ANY or kind.startswith(("*", "[]", "map[")) else f"*{kind}"
