"""What psycopg raised, in our words: which rule was broken, by which value.

Only the server's primary message is ever quoted. Its details hold whole rows, payloads included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from pgsched.domain.errors import (
    DatabaseUnavailable,
    InvalidTask,
    PermissionRefused,
    PgschedError,
    SchemaMismatch,
    TaskNotFound,
    TransitionRefused,
)
from pgsched.domain.records import Task

NO_SCHEMA = "the database has no pgsched schema: run 'pgsched migrate'"

# Whose values may be long or secret.
_UNQUOTED = ("payload", "metadata", "result", "progress")
_LONGEST_SHOWN = 100
_COLUMNS = sorted((f.name for f in fields(Task) if "_" in f.name), key=len, reverse=True)
_NAMES = re.compile("|".join([*_COLUMNS, "one_time"]))
_KEY = re.compile(r"\(idempotency_key\)=\((.*)\)", re.DOTALL)


def translate(error: psycopg.Error, values: Mapping[str, Any] | None = None) -> PgschedError:
    """Return our error for one of psycopg's; ``values`` are the statement's, by column."""
    known = explain(error, values)
    if known is not None:
        return known
    said = error.diag.message_primary or _first_line(error)
    if isinstance(error, errors.InsufficientPrivilege):
        return PermissionRefused(f"the database's role may not do this: {said}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return DatabaseUnavailable(f"the database takes no changes, it is a standby or read-only: {said}")
    if error.sqlstate is None or error.sqlstate[:2] in ("08", "53", "57"):
        return DatabaseUnavailable(f"the database cannot be reached: {said}")
    return PgschedError(f"the database refused: {said}")


@contextmanager
def translated(values: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Every error of psycopg's becomes ours. Not chained: its details hold whole rows, payloads included."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, values) from None


@contextmanager
def explained(values: Mapping[str, Any] | None) -> Iterator[None]:
    """Errors about the task become ours, all others stay psycopg's."""
    try:
        yield
    except psycopg.Error as error:
        known = explain(error, values)
        if known is None:
            raise
        raise known from None


class Said(NamedTuple):
    """What a server said of a statement, whichever driver brought it."""

    kind: type[Exception]
    """The class that psycopg has for it."""
    message: str
    """The primary message."""
    constraint: str | None = None
    detail: str | None = None


def explain(error: psycopg.Error, values: Mapping[str, Any] | None = None) -> PgschedError | None:
    """Return our error where the cause is the task or the schema; None for anything else."""
    said = error.diag.message_primary or _first_line(error)
    return explain_said(Said(type(error), said, error.diag.constraint_name, error.diag.message_detail), values)


def explain_said(said: Said, values: Mapping[str, Any] | None = None) -> PgschedError | None:
    """As :func:`explain`, of what any driver brought."""
    is_a = partial(issubclass, said.kind)
    if is_a(errors.CheckViolation):
        return InvalidTask(_broken_rule(said.constraint or said.message, values or {}))
    if is_a(errors.UniqueViolation):
        return InvalidTask(_taken(said, values or {}))
    if is_a(errors.NoDataFound):
        return TaskNotFound(said.message)
    if is_a((errors.ObjectNotInPrerequisiteState, errors.ObjectInUse)):
        return TransitionRefused(said.message)
    if is_a((errors.UndefinedTable, errors.InvalidSchemaName)):
        return SchemaMismatch(NO_SCHEMA)
    if is_a((errors.UndefinedFunction, errors.UndefinedColumn)):
        return SchemaMismatch(f"the database's schema is not this program's ({said.message}): run 'pgsched migrate'")
    if is_a((psycopg.DataError, psycopg.IntegrityError)):
        return InvalidTask(said.message)
    return None


def describe_rule(constraint: str) -> str:
    """The rule that a constraint's name states: ``priority must be between 1 and 10``."""
    return re.sub(r"[^ ]+", _words, _NAMES.sub(lambda name: f" {name[0]} ", constraint)).strip()


def _words(found: re.Match[str]) -> str:
    word = found[0]
    if _NAMES.fullmatch(word):
        return word
    return " ".join(word.strip("_").split("_")).replace("1 mib", "1 MiB").replace("json", "JSON")


def _broken_rule(constraint: str, values: Mapping[str, Any]) -> str:
    rule = describe_rule(constraint)
    column = rule.partition(" ")[0]
    value = values.get(column)
    if value is None or column in _UNQUOTED:
        return rule
    shown = repr(value) if isinstance(value, str) else str(value)
    return f"{rule}, got {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '…'}"


def _first_line(error: psycopg.Error) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _taken(said: Said, values: Mapping[str, Any]) -> str:
    if said.constraint != "idempotency_key_must_be_unique":
        return said.message
    found = _KEY.search(said.detail or "")
    key = found[1] if found else values.get("idempotency_key")
    return f"idempotency_key {key!r} is taken by another task" if key else said.message


def blamed_value(error: psycopg.Error, rows: list[Mapping[str, Any]]) -> int | None:
    """The place of the first row that a trigger refused: it names the column and quotes the value, or an item of it."""
    column, said = error.diag.column_name, error.diag.message_primary or ""
    for place, row in enumerate(rows):
        value = row.get(column or "")
        if isinstance(value, str) and "'" + value.replace("'", "''") + "'" in said:
            return place
        if isinstance(value, list) and any(f" {item} " in said for item in value):
            return place
    return None
