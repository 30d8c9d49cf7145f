"""Many tasks at once, by COPY: the steps, whoever takes them.

``insert_tasks`` is a generator: it yields a step, is sent the rows of its answer, and returns the ids. So the
order of the steps is written once, for threads and for event loops, and needs one transaction around it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from pgsched.db.problems import blamed_value, explain
from pgsched.db.statements import load_statement
from pgsched.errors import PgschedError
from pgsched.spec import TaskSpec

_LINE = re.compile(r"^COPY \w+, \D*(\d+)", re.MULTILINE)


class Row(NamedTuple):
    """One task: its place in the call, and its values by column."""

    place: int
    values: dict[str, Any]


class Step(NamedTuple):
    """One statement; ``rows`` are the lines of a COPY, or those that an insert is about."""

    statement: sql.SQL | sql.Composed
    params: Mapping[str, Any] = {}
    rows: Sequence[Row] = ()
    copies: bool = False
    answers: bool = False
    """It returns rows."""

    def lines(self) -> Iterator[list[Any]]:
        """The lines of the COPY."""
        return (list(row.values.values()) for row in self.rows)

    def explain(self, error: psycopg.Error) -> PgschedError | None:
        """Our error for one of psycopg's, with the place of the task that is to blame."""
        row = self._blamed(error)
        known = explain(error, row.values if row else None)
        if row is None or known is None:
            return known
        return type(known)(f"task {row.place}: {known}")

    def _blamed(self, error: psycopg.Error) -> Row | None:
        if line := _LINE.search(error.diag.context or ""):
            number = int(line[1])
            return self.rows[number - 1] if number <= len(self.rows) else None
        place = blamed_value(error, [row.values for row in self.rows])
        return None if place is None else self.rows[place]


Steps = Generator[Step, list[dict[str, Any]], list[int]]


def insert_tasks(specs: Iterable[TaskSpec]) -> Steps:
    """Insert tasks and return their ids in order; a known idempotency key gives the id of the task that has
    it.

    Of several tasks with one key the first is inserted.
    """
    tasks = [_arguments(place, spec) for place, spec in enumerate(specs)]
    if not tasks:
        return []
    instants = yield from _instants(sorted({task["delay"] for task in tasks if "delay" in task}))
    reserved = yield Step(sql.SQL(load_statement("reserve_ids")), {"number": len(tasks)}, answers=True)
    rows = [
        Row(place, _values(answer["id"], task, instants))
        for place, (task, answer) in enumerate(zip(tasks, reserved, strict=True))
    ]
    keyless = [row for row in rows if "idempotency_key" not in row.values]
    for columns, alike in _by_columns(keyless):
        yield Step(_with(sql.SQL(load_statement("copy_tasks")), columns), rows=alike, copies=True)
    ids = yield from _insert_keyed([row for row in rows if "idempotency_key" in row.values])
    return [ids[row.values["idempotency_key"]] if "idempotency_key" in row.values else row.values["id"] for row in rows]


def _insert_keyed(rows: Sequence[Row]) -> Generator[Step, list[dict[str, Any]], dict[str, int]]:
    """Insert the rows whose key is not known yet; return the id of each key."""
    missing: dict[str, Row] = {}
    for row in rows:
        missing.setdefault(row.values["idempotency_key"], row)
    ids: dict[str, int] = {}
    while missing:
        for columns, alike in _by_columns(missing.values()):
            yield Step(_with(sql.SQL(load_statement("create_staged_tasks")), columns))
            yield Step(_with(sql.SQL(load_statement("copy_staged_tasks")), columns), rows=alike, copies=True)
            yield Step(_with(sql.SQL(load_statement("insert_staged_tasks")), columns), rows=alike)
            yield Step(sql.SQL(load_statement("drop_staged_tasks")))
        found = yield Step(sql.SQL(load_statement("find_keys")), {"keys": list(missing)}, answers=True)
        ids |= {answer["idempotency_key"]: int(answer["id"]) for answer in found}
        # A row that was in the way may have been deleted since: its key is inserted again.
        missing = {key: row for key, row in missing.items() if key not in ids}
    return ids


def _instants(delays: list[str]) -> Generator[Step, list[dict[str, Any]], dict[str, str]]:
    if not delays:
        return {}
    answers = yield Step(sql.SQL(load_statement("add_delays")), {"delays": delays}, answers=True)
    return {answer["delay"]: answer["instant"] for answer in answers}


def _arguments(place: int, spec: object) -> dict[str, Any]:
    if not isinstance(spec, TaskSpec):
        raise TypeError(f"task {place}: must be a TaskSpec, got a {type(spec).__name__}")
    return spec.arguments()


def _values(task_id: int, task: dict[str, Any], instants: Mapping[str, str]) -> dict[str, Any]:
    """The columns that a task fills, and with what."""
    values = {"id": task_id, **task}
    delay = values.pop("delay", None)
    if "run_at" in values:
        values["scheduled_for"] = values.pop("run_at")
    elif delay is not None:
        values["scheduled_for"] = instants[delay]
    return values


def _by_columns(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """The rows in groups that fill the same columns: a COPY fills the same ones in each line."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.values), []).append(row)
    yield from groups.items()


def _with(statement: sql.SQL, columns: Iterable[str]) -> sql.Composed:
    return statement.format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)))
