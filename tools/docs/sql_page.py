"""docs/reference_sql.md: the schema, as its own comments describe it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.processes import CHECKOUT
from tools.docs.markdown import anchor, code, page, table

Row = dict[str, Any]

INTRODUCTION = """\
# SQL reference

`make docs` generates this page from the comments in the schema (psql's `\\d+` and `\\df+` also show them). See
[sql.md](sql.md) for explanations and examples, and [security.md](security.md#database-roles) for the rights of each
role. Everything is in the schema `pgsched`. Types are the base types of the domains; *null* states whether the column
may be null."""

FOR_WORKERS = "For workers: "
FOR_THE_SCHEMA = "For the schema: "

_RELATIONS = """
    select c.oid, c.relname::text as name, c.relkind::text as kind, c.relpersistence = 'u' as unlogged,
      c.relkind = 'p' as partitioned, coalesce(obj_description(c.oid, 'pg_class'), '') as comment
    from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
    order by c.relname <> 'tasks', c.relname
"""
_COLUMNS = """
    select a.attname::text as name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as type,
      not a.attnotnull as nullable, a.attidentity <> '' as identity, a.attgenerated <> '' as generated,
      coalesce(pg_get_expr(d.adbin, d.adrelid), '') as default,
      coalesce(col_description(a.attrelid, a.attnum), '') as comment
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""
_FUNCTIONS = """
    select p.proname::text as name, pg_get_function_identity_arguments(p.oid) as identity,
      coalesce(p.proargnames, '{}')::text[] as names, coalesce(p.proargmodes::text[], '{}') as modes,
      array(select format_type(u, null) from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) u) as types,
      array(select coalesce(pg_get_function_arg_default(p.oid, n), '')
            from generate_series(1, p.pronargs) n) as defaults,
      pg_get_function_result(p.oid) as returns, p.prorettype = 'trigger'::regtype as is_trigger,
      coalesce(obj_description(p.oid, 'pg_proc'), '') as comment
    from pg_proc p
    where p.pronamespace = 'pgsched'::regnamespace
    order by p.proname <> 'schedule', p.proname, identity
"""
# A partition repeats the constraints of its table, and the names of not-null constraints are generated.
_CONSTRAINTS = """
    select c.conname::text as name,
      case c.contypid when 0 then r.relname else null end as table, t.typname::text as domain,
      coalesce(obj_description(c.oid, 'pg_constraint'), '') as comment
    from pg_constraint c
    left join pg_type t on t.oid = c.contypid
    left join pg_class r on r.oid = c.conrelid
    where c.connamespace = 'pgsched'::regnamespace and c.contype in ('c', 'f', 'x') and r.relispartition is not true
    union all
    select r.relname, i.relname, null, coalesce(obj_description(r.oid, 'pg_class'), '')
    from pg_index x
    join pg_class r on r.oid = x.indexrelid
    join pg_class i on i.oid = x.indrelid
    where r.relnamespace = 'pgsched'::regnamespace and x.indisunique and not x.indisprimary and not r.relispartition
    order by 1
"""
_INDEXES = """
    select r.relname::text as name, i.relname::text as table, pg_get_indexdef(r.oid) as definition,
      coalesce(obj_description(r.oid, 'pg_class'), '') as comment
    from pg_index x
    join pg_class r on r.oid = x.indexrelid
    join pg_class i on i.oid = x.indrelid
    where r.relnamespace = 'pgsched'::regnamespace and not x.indisprimary and not r.relispartition
    order by i.relname <> 'tasks', i.relname, r.relname
"""


def sql_page(dsn: str) -> str:
    """Write the page for a migrated database."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return page(INTRODUCTION, *_tables(connection), *_functions(connection), *_rules(connection))


def uncommented(dsn: str) -> list[str]:
    """Yield the user-visible objects of the schema without a comment."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        relations = _ask(connection, _RELATIONS)
        silent = [f"table {one['name']}" for one in relations if not one["comment"]]
        for one in relations:
            silent += [
                f"column {one['name']}.{column['name']}"
                for column in _ask(connection, _COLUMNS, one["oid"])
                if not column["comment"]
            ]
        silent += [f"function {one['name']}" for one in _ask(connection, _FUNCTIONS) if not one["comment"]]
        silent += [f"constraint {one['name']}" for one in _ask(connection, _CONSTRAINTS) if not one["comment"]]
        silent += [f"index {one['name']}" for one in _ask(connection, _INDEXES) if not one["comment"]]
    return silent


def _ask(connection: psycopg.Connection[Row], query: str, *parameters: object) -> list[Row]:
    return connection.execute(query, parameters or None).fetchall()


# Tables.


def _tables(connection: psycopg.Connection[Row]) -> list[str]:
    relations = _ask(connection, _RELATIONS)
    names = [f"pgsched.{one['name']}" for one in relations]
    (tasks,) = [one["oid"] for one in relations if one["name"] == "tasks"]
    kept = {column["name"] for column in _ask(connection, _COLUMNS, tasks)}
    parts = [
        "## Tables and views",
        table(
            ("name", "kind", "contents"),
            [
                (f"[`{name}`](#{anchor(name)})", _kind(one), one["comment"])
                for name, one in zip(names, relations, strict=True)
            ],
        ),
    ]
    for name, one in zip(names, relations, strict=True):
        columns = _ask(connection, _COLUMNS, one["oid"])
        parts.append(f"### {name}")
        if one["name"] == "tasks":
            public = _public_columns()
            parts += [
                "Columns that callers may set:",
                _column_table([column for column in columns if column["name"] in public]),
                "Columns that pgsched maintains:",
                _column_table([column for column in columns if column["name"] not in public]),
            ]
        elif kept <= {column["name"] for column in columns}:  # its rows, kept elsewhere
            parts += [
                "The columns of [`pgsched.tasks`](#pgschedtasks), and:",
                _column_table([column for column in columns if column["name"] not in kept]),
            ]
        else:
            parts.append(_column_table(columns))
    return parts


def _kind(relation: Row) -> str:
    if relation["kind"] in ("v", "m"):
        return "view"
    return "table, " + ("unlogged" if relation["unlogged"] else "by day" if relation["partitioned"] else "plain")


def _public_columns() -> list[str]:
    """The columns of tasks that producers may insert, from the list in ``grant_rights``."""
    text = (CHECKOUT / "sql" / "queries" / "grant_rights.sql").read_text(encoding="utf-8")
    found = re.search(r"public_columns constant text := '([^']+)'", text)
    assert found is not None
    return [name.strip() for name in found[1].split(",")]


def _column_table(columns: list[Row]) -> str:
    return table(
        ("column", "type", "null", "default", "meaning"),
        [
            (
                code(column["name"]),
                short_type(column["type"]),
                "yes" if column["nullable"] else "no",
                _default(column),
                column["comment"],
            )
            for column in columns
        ],
    )


def _default(column: Row) -> str:
    if column["identity"]:
        return "the next number"
    if column["generated"]:
        return "computed"
    return code(plain_default(column["default"]))


def plain_default(expression: str) -> str:
    """A default without its cast."""
    return re.sub(r"^('(?:[^']|'')*')::[\w .\[\]\"]+$", r"\1", expression)


def short_type(name: str) -> str:
    """A type in its usual notation."""
    return name.replace("timestamp with time zone", "timestamptz").replace("pgsched.", "")


# Functions.


def _functions(connection: psycopg.Connection[Row]) -> list[str]:
    found = _ask(connection, _FUNCTIONS)
    (tasks,) = [one["oid"] for one in _ask(connection, _RELATIONS) if one["name"] == "tasks"]
    meanings = {column["name"]: column for column in _ask(connection, _COLUMNS, tasks)}
    for_people = [
        one for one in found if not one["is_trigger"] and not one["comment"].startswith((FOR_WORKERS, FOR_THE_SCHEMA))
    ]
    for_workers = [one for one in found if one["comment"].startswith(FOR_WORKERS)]
    inner = [one for one in found if one["is_trigger"] or one["comment"].startswith(FOR_THE_SCHEMA)]
    parts = [
        "## Functions",
        "Pass arguments by name: `queue => 'mail'`. An id that does not exist raises `no_data_found`; a status that\n"
        "does not allow the action raises `object_not_in_prerequisite_state`; an invalid argument raises\n"
        "`invalid_parameter_value`, `check_violation` or another error of class 22 or 23, which names the argument.",
    ]
    for one in for_people:
        told, arguments = _told(one["comment"])
        parts += [f"### {one['name']}", f"{code(_signature(one))}", told, _arguments(one, arguments, meanings)]
    parts += [
        "### Functions for workers",
        "These functions are called by workers; other programs do not need them.",
        table(("function", "meaning"), [(code(_signature(one)), _sentence(one, FOR_WORKERS)) for one in for_workers]),
        "### Functions of the schema itself",
        "These functions are called by triggers, constraints and the functions above.",
        table(("function", "meaning"), [(code(_signature(one)), _sentence(one, FOR_THE_SCHEMA)) for one in inner]),
    ]
    return parts


def _sentence(function: Row, beginning: str) -> str:
    text = str(function["comment"]).removeprefix(beginning)
    return text[:1].upper() + text[1:]


def _told(comment: str) -> tuple[str, dict[str, str]]:
    """The description of a function, and its arguments: each has a line ``name: meaning`` in the comment."""
    first, *lines = comment.split("\n")
    return first, dict(line.split(": ", 1) for line in lines)


def _inputs(function: Row) -> list[tuple[str, str, str]]:
    """Name, type and default of each input argument."""
    modes = function["modes"] or ["i"] * len(function["types"])
    of_all = zip(function["names"] or [""] * len(modes), function["types"], modes, strict=True)
    inputs = [(name, short_type(kind)) for name, kind, mode in of_all if mode in ("i", "b", "v")]
    return [(name, kind, default) for (name, kind), default in zip(inputs, function["defaults"], strict=True)]


def _signature(function: Row) -> str:
    arguments = [name if len(_inputs(function)) > 8 else f"{name} {kind}" for name, kind, _ in _inputs(function)]
    if len(arguments) > 8:
        arguments = [arguments[0], "…"]
    returns = short_type(function["returns"].replace("TABLE(", "table ("))
    return f"pgsched.{function['name']}({', '.join(arguments)}) → {returns}"


def _arguments(function: Row, told: dict[str, str], columns: dict[str, Row]) -> str:
    rows = []
    for name, kind, default in _inputs(function):
        column = columns.get(name) if function["name"] == "schedule" else None
        shown = code(plain_default(default))
        if default.startswith("NULL") and column is not None:
            shown = code(plain_default(column["default"]))
        elif default.startswith("NULL"):
            shown = ""
        elif not default:
            shown = "required"
        rows.append((code(name), kind, shown, told.get(name, column["comment"] if column else "")))
    if all(not meaning for *_, meaning in rows) and all(shown == "required" for _, _, shown, _ in rows):
        return ""
    return table(("argument", "type", "default", "meaning"), rows)


# Rules.


def _rules(connection: psycopg.Connection[Row]) -> list[str]:
    constraints = _ask(connection, _CONSTRAINTS)
    return [
        "## Constraints",
        "Rules for a single column of `pgsched.tasks` are constraints of its domain, which has the column's name\n"
        "(except `pgsched.queue_name` for `queue`, and `pgsched.task_status` for `status`). Rules for several columns\n"
        "are check constraints of the table. A violation has SQLSTATE `23514` (`23505` for unique constraints) and\n"
        "carries the constraint's name.",
        table(
            ("constraint", "of", "rule"),
            [
                (
                    code(one["name"]),
                    f"domain {one['domain']}" if one["domain"] else f"table {one['table']}",
                    one["comment"],
                )
                for one in sorted(
                    constraints, key=lambda one: (one["domain"] is None, one["domain"] or one["table"], one["name"])
                )
            ],
        ),
        "## Indexes",
        "Primary keys are omitted. No index of `pgsched.tasks` mentions a column that a claim sets: "
        "[architecture.md](architecture.md#due-time-and-partial-index) explains why.",
        table(
            ("index", "of", "purpose"),
            [
                (code(one["name"]), f"{one['table']} {code(_indexed(one['definition']))}", one["comment"])
                for one in _ask(connection, _INDEXES)
            ],
        ),
    ]


def _indexed(definition: str) -> str:
    """The columns and condition of an index, without its name and table."""
    return re.sub(r" WITH \([^)]*\)", "", re.sub(r"^.* USING (?:btree )?", "", definition))
