"""What psycopg raised, in our words: which rule was broken, by which value; and whom an error is about.

Only the server's primary message is ever quoted. Its details hold whole rows, payloads included.

A worker's statement for many rows that was refused (:class:`RefusedByDatabase`) is worth sending again for halves of
them, until the row is found. One that met a server without memory, or a lost connection, is sent again as it is.
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
    ImpairedDatabase,
    InvalidTask,
    KeyStayed,
    KeyTaken,
    PermissionRefused,
    PgschedError,
    ReadOnlyDatabase,
    SchemaMismatch,
    TaskNotFound,
    TenantMoved,
    TenantMoving,
    TransitionRefused,
)
from pgsched.domain.records import Task

NO_SCHEMA = "the database has no pgsched schema: run 'pgsched migrate'"

# Whose values may be long or secret.
_UNQUOTED = ("payload", "metadata", "result", "progress")
_COLUMNS = sorted((f.name for f in fields(Task) if "_" in f.name), key=len, reverse=True)
_WORD = re.compile("|".join([*_COLUMNS, "one_time", "[^_]+"]))
_KEY = re.compile(r"\(idempotency_key\)=\((.*)\)(?: is taken by task (\d+))?", re.DOTALL)
_ABOUT_THE_SERVER = ("08", "25", "26", "40", "53", "57P")
"""Classes of SQLSTATE: connections, transaction states (read-only among them), lost prepared statements, serialization
failures and deadlocks, resources, shutdown. Source: appendix A of PostgreSQL's manual."""
_PASSING = ("42501", "55", "57014", "58", "XX000")
"""Rights that are missing, locks that were not to be had in time, cancelled statements, errors of the system, internal
errors."""
_MOVES: Mapping[str, type[TransitionRefused]] = {
    "tenant_has_moved": TenantMoved,
    "tenant_is_moving": TenantMoving,
    "key_stayed_behind": KeyStayed,
}
"""What pgsched.guard_placement refuses, by the name that it gives as the constraint."""
_IMPAIRED = {
    "53100": "the disk of the database server is full",
    "53200": "the database server is out of memory",
    "53400": "a limit in the settings of the database server was exceeded",
    "53": "the database server has reached a limit",
    "58030": "the database server cannot read or write its disk",
    "58": "the system that the database server runs on reports an error",
}
"""By SQLSTATE or class of it, what is wrong with a server that answers."""
_READ_ONLY_DISK = "the disk of the database server is read-only"
_FILES = ("fd.c", "md.c", "slru.c", "xlog.c", "buffile.c", "copydir.c", "relmapper.c", "storage.c")
"""Parts of the server that open files. Its SQLSTATE for a read-only file system is that of a missing right."""
_ABOUT_THE_CONNECTION = ("FATAL", "PANIC")
"""Severities of errors that end it."""


class RefusedByDatabase(DatabaseUnavailable):
    """The server answered and refused this statement: others, with other values, may pass."""

    def __init__(self, message: str, *, passing: bool = False, impaired: bool = False) -> None:
        """``passing``: what is in the way may be gone the next time, as a lock. ``impaired``: it is the server's disk
        or system, which holds for one file, or for all.
        """
        super().__init__(message)
        self.passing = passing
        self.impaired = impaired


class RefusedByServer(DatabaseUnavailable):
    """The server answered with an error about itself, as a serialization failure or a full disk.

    It may hold for every statement. But a trigger may raise any of them, and then it holds for one row.
    """


class SilentDatabase(DatabaseUnavailable):
    """The server was waited for in vain."""


def translate(error: psycopg.Error, values: Mapping[str, Any] | None = None) -> PgschedError:
    """Return our error for one of psycopg's; ``values`` are the statement's, by column."""
    known = explain(error, values)
    if known is not None:
        return known
    said = error.diag.message_primary or one_line(error)
    if trouble := _trouble_of(error):
        return ImpairedDatabase(trouble, said)
    if isinstance(error, errors.InsufficientPrivilege):
        return PermissionRefused(f"the database's role may not do this: {said}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return ReadOnlyDatabase(f"the database takes no changes, it is a standby or read-only: {said}")
    if error.sqlstate is None or error.sqlstate[:2] in ("08", "57") or _lost_a_worker(error):
        return DatabaseUnavailable(f"the database cannot be reached: {said}")
    return PgschedError(f"the database refused: {said}")


def is_unavailable(error: psycopg.Error) -> bool:
    """Whether the server cannot be reached, or cannot do its work, whatever the statement."""
    return isinstance(translate(error), DatabaseUnavailable)


def _trouble_of(error: psycopg.Error) -> str | None:
    """Return what is wrong with a server that answers; None when it is something else."""
    state = error.sqlstate or ""
    if _is_read_only_disk(error):
        return _READ_ONLY_DISK
    return _IMPAIRED.get(state) or _IMPAIRED.get(state[:2])


def _is_read_only_disk(error: psycopg.Error) -> bool:
    return isinstance(error, errors.InsufficientPrivilege) and error.diag.source_file in _FILES


def _lost_a_worker(error: psycopg.Error) -> bool:
    """Whether a process died that ran a part of the statement: the server ends all sessions and restarts.

    The SQLSTATE is that of an object in a wrong state (parallel.c), and only this part of the server raises it there.
    """
    return isinstance(error, errors.ObjectNotInPrerequisiteState) and error.diag.source_file == "parallel.c"


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
    constraint: str | None = None
    detail: str | None = None
    column: str | None = None


def explain(error: psycopg.Error, values: Mapping[str, Any] | None = None) -> PgschedError | None:
    """Return our error where the cause is the task or the schema; None for anything else."""
    if _lost_a_worker(error):
        return None
    said = error.diag.message_primary or one_line(error)
    told = error.diag
    return explain_said(Said(type(error), said, told.constraint_name, told.message_detail, told.column_name), values)


def explain_said(said: Said, values: Mapping[str, Any] | None = None) -> PgschedError | None:
    """As :func:`explain`, of what any driver brought."""
    is_a = partial(issubclass, said.kind)
    if is_a(errors.CheckViolation):
        return _broken_rule(said.constraint, values or {}) if said.constraint else InvalidTask(said.message)
    if is_a(errors.UniqueViolation):
        return _taken(said, values or {})
    if is_a(errors.NoDataFound):
        return TaskNotFound(said.message)
    if is_a((errors.ObjectNotInPrerequisiteState, errors.ObjectInUse)):
        return _MOVES.get(said.constraint or "", TransitionRefused)(said.message)
    if is_a((errors.UndefinedTable, errors.InvalidSchemaName)):
        return SchemaMismatch(NO_SCHEMA)
    if is_a((errors.UndefinedFunction, errors.UndefinedColumn)):
        return SchemaMismatch(f"the database's schema is not this program's ({said.message}): run 'pgsched migrate'")
    if is_a((psycopg.DataError, psycopg.IntegrityError)):
        return InvalidTask(said.message, field=said.column, subject="")
    return None


def rule_of(constraint: str) -> tuple[str, str]:
    """Return the field and the rule that a constraint's name states: ``priority``, ``must be between 1 and 10``."""
    words = _WORD.findall(constraint)
    return words[0], " ".join(words[1:]).replace("1 mib", "1 MiB").replace("json", "JSON")


def _broken_rule(constraint: str, values: Mapping[str, Any]) -> InvalidTask:
    field, rule = rule_of(constraint)
    value = None if field in _UNQUOTED else values.get(field)
    return InvalidTask(rule, field=field, value=... if value is None else value)


def _taken(said: Said, values: Mapping[str, Any]) -> InvalidTask:
    if said.constraint != "idempotency_key_must_be_unique":
        return InvalidTask(said.message)
    found = _KEY.search(said.detail or "")
    key = found[1] if found else values.get("idempotency_key")
    if not key:
        return InvalidTask(said.message)
    id = int(found[2]) if found and found[2] else None
    by = "another task" if id is None else f"task {id}"
    return KeyTaken(f"{key!r} is taken by {by}", field="idempotency_key", key=key, id=id)


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


def is_passing_state(state: str) -> bool:
    """Whether what an SQLSTATE is about may be gone the next time: the row is not to blame."""
    return is_about_the_server(state) or state.startswith(_PASSING)


def is_passing(error: BaseException) -> bool:
    """The same of an error."""
    return isinstance(error, RefusedByServer) or (isinstance(error, RefusedByDatabase) and error.passing)


def is_of_the_server(error: BaseException) -> bool:
    """Whether an error is about the server as a whole: what it holds up can go on as soon as that is mended."""
    return isinstance(error, RefusedByServer) or (isinstance(error, RefusedByDatabase) and error.impaired)


def fault_of(error: psycopg.Error) -> DatabaseUnavailable:
    """Return our error for one of psycopg's: RefusedByDatabase when it is about the statement's values."""
    state = error.sqlstate
    if state is None:
        # Without a server's word: a value that has no form in SQL, or a connection that is gone.
        refused = isinstance(error, (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError))
        return (RefusedByDatabase if refused else DatabaseUnavailable)(one_line(error))
    if error.diag.severity_nonlocalized in _ABOUT_THE_CONNECTION or _lost_a_worker(error):
        return DatabaseUnavailable(one_line(error))
    if is_about_the_server(state) or _is_read_only_disk(error):
        return RefusedByServer(one_line(error))
    return RefusedByDatabase(one_line(error), passing=state.startswith(_PASSING), impaired=is_impaired_state(state))


def is_impaired_state(state: str) -> bool:
    """Whether an SQLSTATE is about the server as a whole, or about its disk or system, for one file or for all."""
    return is_about_the_server(state) or state.startswith("58")


def is_about_the_server(state: str) -> bool:
    """Whether an SQLSTATE is about the connection, the transaction or the server as a whole."""
    return state.startswith(_ABOUT_THE_SERVER)


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class when it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
