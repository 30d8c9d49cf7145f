"""sql/schema.sql: the schema as one file, in reading order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from tools.schema_book.catalog import (
    COLUMNS,
    CONSTRAINTS,
    FUNCTIONS,
    INDEXES,
    PUBLIC_RIGHTS,
    RELATIONS,
    SEQUENCES,
    TRIGGERS,
    TYPES,
    Catalog,
    Row,
)
from tools.schema_book.subjects import CHECKING, FUNCTIONS_BY_SUBJECT, TABLES_BY_SUBJECT, VIEWS_BY_SUBJECT, Subject
from tools.schema_book.text import (
    AFTER_COMMAS,
    AT_AND_OR,
    WIDTH,
    broken,
    filled,
    literal,
    plain,
    remark,
    split_arguments,
)

INTRODUCTION: Final = """\
-- The schema of pgsched, for reading: the result of the migrations on an empty database. `make schema` writes it,
-- and tests keep it equal to the migrations. No program runs it: `pgsched migrate` runs migrations/.
--
-- 1. Checks of types   2. Types   3. Tables and their indexes   4. Views   5. Functions   6. Triggers   7. Rights
-- 8. Comments
--
-- Left out: rows, the daily partitions of the history, and the roles with their rights (queries/grant_rights.sql)."""

# SQL functions mention functions that are defined below them.
PREAMBLE: Final = """\
set check_function_bodies = off;

create schema pgsched;"""

_COMMENT_COLUMN: Final = 64
"""The column in which comments start, unless all definitions of a table are shorter."""
_VOLATILE: Final = {"i": "immutable", "s": "stable", "v": ""}
_PARALLEL: Final = {"s": "parallel safe", "r": "parallel restricted", "u": ""}


class Book:
    """Writes the chapters, and collects the comments for the last one."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._comments: list[tuple[str, str]] = []

    def text(self) -> str:
        """Return the whole file."""
        (schema,) = self._catalog.ask("select obj_description('pgsched'::regnamespace, 'pg_namespace') as comment")
        self._note("schema pgsched", schema["comment"])
        functions = _by_name(self._catalog.ask(FUNCTIONS))
        relations = {row["name"]: row for row in self._catalog.ask(RELATIONS)}
        views = {name: relations.pop(name) for name, row in list(relations.items()) if row["kind"] == "v"}
        checking = [self._function(functions.pop(name)) for name in CHECKING]
        parts = [
            INTRODUCTION,
            PREAMBLE,
            *_chapter(1, "Checks of types", checking),
            *_chapter(2, "Types", map(self._type, self._catalog.ask(TYPES))),
            _heading(3, "Tables and their indexes"),
            *_by_subject(TABLES_BY_SUBJECT, relations, self._table),
            _heading(4, "Views"),
            *_by_subject(VIEWS_BY_SUBJECT, views, self._view),
            _heading(5, "Functions"),
            *_by_subject(FUNCTIONS_BY_SUBJECT, functions, self._function),
            *_chapter(6, "Triggers", self._triggers()),
            *_chapter(7, "Rights", self._rights()),
            _heading(8, "Comments"),
            "-- Comments on the objects above, which psql and docs/reference_sql.md show.",
            "\n".join(self._comment_statements()),
        ]
        return "\n\n".join(parts) + "\n"

    def _note(self, of: str, comment: str | None) -> None:
        if comment:
            self._comments.append((of, comment))

    # Types.

    def _type(self, row: Row) -> str:
        name = f"pgsched.{row['name']}"
        comment = self._catalog.comment_on(row["oid"], "pg_type")
        if row["kind"] == "c":
            self._note(f"type {name}", comment)
            columns = self._columns(name, row["typrelid"])
            return "\n".join([*remark(comment), f"create type {name} as (", *_lined(columns), ");"])
        self._note(f"domain {name}", comment)
        head = f"create domain {name} as {plain(row['base'])}"
        if row["typdefault"] is not None:
            head += f" default {plain(row['typdefault'])}"
        if row["not_null"]:
            head += " not null"
        rules = self._constraints(f"domain {name}", row["oid"])
        return "\n".join([*remark(comment), head, *(line for rule in rules for line in rule)]) + ";"

    # Tables.

    def _table(self, row: Row) -> str:
        name, oid = f"pgsched.{row['name']}", row["oid"]
        comment = self._catalog.comment_on(oid, "pg_class")
        self._note(f"table {name}", comment)
        options = f" with ({', '.join(_option(one) for one in row['options'])})" if row["options"] else ""
        kind = "unlogged table" if row["unlogged"] else "table"
        sequences = self._catalog.ask(SEQUENCES, oid)
        lines = [line for one in sequences for line in (f"create sequence pgsched.{one['name']};", "")]
        lines += remark(comment)
        if row["parent"]:
            lines.append(f"create {kind} {name} partition of {row['parent']} {row['bound'].lower()}{options};")
        else:
            body = _lined(self._columns(name, oid) + self._constraints(name, oid))
            by = f" partition by {plain(row['partitioned_by'])}" if row["partitioned_by"] else ""
            lines += [f"create {kind} {name} (", *body, f"){by}{options};"]
        lines += [f"alter sequence pgsched.{one['name']} owned by {name}.{one['column']};" for one in sequences]
        if row["whole_rows_replicated"]:
            lines.append(f"alter table {name} replica identity full;")
        if not row["parent"]:
            lines += self._indexes(oid)
        return "\n".join(lines)

    def _columns(self, name: str, oid: int) -> list[list[str]]:
        """The columns of a table, each as lines without the trailing comma."""
        columns = self._catalog.ask(COLUMNS, oid)
        definitions = [_definition(column) for column in columns]
        at = min(_COMMENT_COLUMN, max(len(one) for one in definitions) + 5)
        found = []
        for column, definition in zip(columns, definitions, strict=True):
            self._note(f"column {name}.{column['name']}", column["comment"])
            found.append(_beside(definition, remark(column["comment"], " " * at)))
        return found

    def _constraints(self, owner: str, oid: int) -> list[list[str]]:
        """The constraints of a table or a domain, each as lines."""
        found = []
        for rule in self._catalog.ask(CONSTRAINTS, oid):
            self._note(f"constraint {rule['name']} on {owner}", rule["comment"])
            definition = plain(rule["definition"])
            line = f"  constraint {rule['name']} {definition}"
            lines = [line]
            if len(line) + 1 > WIDTH:
                lines = [f"  constraint {rule['name']}", *broken(definition, "    ", AT_AND_OR)]
            found.append([*remark(rule["comment"], "  "), *lines])
        return found

    def _indexes(self, oid: int) -> list[str]:
        lines = []
        for index in self._catalog.ask(INDEXES, oid):
            self._note(f"index pgsched.{index['name']}", index["comment"])
            definition = plain(index["definition"]).replace(" using btree", "") + ";"
            lines += [
                "",
                *remark(index["comment"]),
                *broken(definition.replace(" on only ", " on "), "", " (?=with |where )", AT_AND_OR),
            ]
        return lines

    # Views.

    def _view(self, row: Row) -> str:
        name = f"pgsched.{row['name']}"
        comment = self._catalog.comment_on(row["oid"], "pg_class")
        self._note(f"view {name}", comment)
        for column in self._catalog.ask(COLUMNS, row["oid"]):
            self._note(f"column {name}.{column['name']}", column["comment"])
        options = f" with ({', '.join(_option(one) for one in row['options'])})" if row["options"] else ""
        return "\n".join([*remark(comment), f"create view {name}{options} as", *_query(plain(row["definition"]))])

    # Functions.

    def _function(self, row: Row) -> str:
        name = f"pgsched.{row['name']}"
        identity = f"({plain(row['identity'])})" if row["overloaded"] else ""
        self._note(f"function {name}{identity}", row["comment"])
        arguments = [
            re.sub(r"\bdefault null::.*", "default null", one) for one in split_arguments(plain(row["arguments"]))
        ]
        returns = f") returns {plain(row['returns'])}"
        head = [f"create function {name}({', '.join(arguments)}{returns}"]
        if len(head[0]) > WIDTH:
            head = [f"create function {name}(", *filled(arguments, "  "), *_returns(returns)]
        settings = " ".join(_setting(one) for one in row["settings"])
        lines = [*remark(row["comment"]), *head, _attributes(row)]
        if settings:
            lines += broken(settings, "", " (?=set )")
        if row["parsed"]:
            return "\n".join([*lines, *broken(plain(row["parsed"]) + ";", "", AT_AND_OR, AFTER_COMMAS)])
        quote = "$$" if "$$" not in row["body"] else "$body$"
        return "\n".join(lines) + f" as {quote}{row['body']}{quote};"

    # Triggers.

    def _triggers(self) -> Iterator[str]:
        for trigger in self._catalog.ask(TRIGGERS):
            self._note(f"trigger {trigger['name']} on pgsched.{trigger['table']}", trigger["comment"])
            text = plain(trigger["definition"]) + ";"
            lines = broken(text, "", " (?=for each |execute )", " (?=when )", AT_AND_OR, AFTER_COMMAS)
            yield "\n".join([*remark(trigger["comment"]), *lines])

    # Rights.

    def _rights(self) -> Iterator[str]:
        yield "-- Only roles that were granted the right may call functions."
        yield "revoke execute on all functions in schema pgsched from public;"
        public = [f"pgsched.{row['name']}" for row in self._catalog.ask(FUNCTIONS) if row["public"]]
        yield "\n".join(["grant execute on function", *filled(public, "  "), "to public;"])
        for row in self._catalog.ask(PUBLIC_RIGHTS):
            yield f"grant {row['rights']} on pgsched.{row['name']} to public;"

    # Comments.

    def _comment_statements(self) -> Iterator[str]:
        for of, comment in self._comments:
            lines = literal(comment)
            line = f"comment on {of} is {lines[0]}"
            if len(lines) == 1 and len(line) < WIDTH:
                yield f"{line};"
            elif "\n" in comment:
                yield "\n".join([line, *lines[1:]]) + ";"
            else:
                yield "\n  ".join([f"comment on {of} is", *lines]) + ";"


def _chapter(number: int, title: str, parts: Iterable[str]) -> list[str]:
    return [_heading(number, title), *parts]


def _heading(number: int, title: str) -> str:
    bar = "-- " + "=" * (WIDTH - 3)
    return f"{bar}\n-- {number}. {title}\n{bar}"


def _by_name(functions: Sequence[Row]) -> dict[str, Row]:
    """Functions by name; of overloaded ones, the second and further ones get a number suffix."""
    found: dict[str, Row] = {}
    for row in functions:
        number = sum(other["name"] == row["name"] for other in found.values())
        found[row["name"] if not number else f"{row['name']} {number + 1}"] = row
    return found


def _by_subject(subjects: Sequence[Subject], rows: dict[str, Row], write: Callable[[Row], str]) -> Iterator[str]:
    """Write each row under its subject. Raises ValueError unless every row has exactly one."""
    listed = [name for subject in subjects for name in subject.names]
    wrong = set(listed) ^ set(rows) or {name for name in listed if listed.count(name) > 1}
    if wrong:
        raise ValueError(f"tools/schema_book/subjects.py must name each existing object exactly once: {sorted(wrong)}")
    for subject in subjects:
        yield "\n".join([f"-- {subject.title} " + "-" * (WIDTH - len(subject.title) - 4), *remark(subject.about)])
        for name in subject.names:
            yield write(rows[name])


def _definition(column: Row) -> str:
    text = f"  {column['name']} {plain(column['type'])}"
    if column["identity"]:
        return text + f" generated {'always' if column['identity'] == 'a' else 'by default'} as identity"
    if column["not_null"]:
        text += " not null"
    if column["generated"]:
        return text + f" generated always as ({plain(column['default'])}) stored"
    return text + (f" default {plain(column['default'])}" if column["default"] else "")


def _beside(definition: str, comment: list[str]) -> list[str]:
    """A column and its comment: on one line if they fit, otherwise the comment continues below."""
    if not comment:
        return [definition]
    at = len(comment[0]) - len(comment[0].lstrip())
    if len(definition) + 3 > at:
        return [definition, *comment]
    return [definition + comment[0][len(definition) :], *comment[1:]]


def _lined(elements: list[list[str]]) -> list[str]:
    """Elements of a list in parentheses, as lines: with commas, placed before a comment."""
    for element in elements[:-1]:
        _add_comma(element)
    return [line for element in elements for line in element]


def _add_comma(lines: list[str]) -> None:
    number = max(n for n, line in enumerate(lines) if not line.lstrip().startswith("--"))
    code, mark, comment = lines[number].partition(" --")
    bare = code.rstrip()
    gap = max(len(code) - len(bare) - 1, 0)
    lines[number] = f"{bare},{' ' * gap}{mark}{comment}"


def _option(text: str) -> str:
    name, _, value = text.partition("=")
    return f"{name} = {value}"


def _returns(text: str) -> list[str]:
    """The end of a function's head: the table that it returns, as lines."""
    start, opened, columns = text.partition(" table(")
    if not opened or len(text) <= WIDTH:
        return [text.replace(" table(", " table (")]
    return [f"{start} table (", *filled(split_arguments(columns.removesuffix(")")), "  "), ")"]


def _attributes(row: Row) -> str:
    words = [f"language {row['language']}", _VOLATILE[row["volatile"]]]
    words += ["strict"] * row["strict"] + ["leakproof"] * row["leakproof"] + ["security definer"] * row["definer"]
    words.append(_PARALLEL[row["parallel"]])
    words += [f"cost {row['cost']:g}"] * (row["cost"] != 100)
    words += [f"rows {row['rows']:g}"] * (row["returns_set"] and row["rows"] != 1000)
    return " ".join(word for word in words if word)


def _setting(text: str) -> str:
    name, _, value = text.partition("=")
    return f"set {name.lower()} = {value if name == 'search_path' else literal(value)[0]}"


def _query(text: str) -> list[str]:
    """A query as PostgreSQL prints it, with as many columns per line as fit."""
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.rstrip()
        if lines and lines[-1].endswith(",") and len(lines[-1]) + len(line.strip()) < WIDTH:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return [
        part
        for line in lines
        for part in broken(
            line.lstrip(), " " * (len(line) - len(line.lstrip())), " (?=on |where )", AT_AND_OR, " (?=then )"
        )
    ]
