"""Inserts many tasks at once by COPY: the steps, for any caller.

``insert_tasks`` is a generator: it yields a step, is sent the rows of its answer, and returns the ids. So the order of
the steps is written once, for threads and for event loops; it must run in one transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from pgsched.db.error_mapping import blamed_value, explain
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidTask, PgschedError
from pgsched.domain.task_spec import TaskSpec

HEAD = 1_000
"""Number of tasks that are examined before anything is sent: a smaller call reserves exactly the ids it needs."""
BLOCK = 10_000
"""Number of ids that are reserved for a longer call at first; later as many as were used."""

TRIES = 10
"""How often to insert rows whose keys were in use and then were not."""
WHO = "a trigger or a row security policy on pgsched.tasks keeps them out"
KEPT_OUT = "the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out"

_LINE = re.compile(r"^.*\bCOPY\b.*?\b(?:tasks|pgsched_staged_tasks)\b\D*(\d+)", re.MULTILINE)
"""The place where a COPY failed, in any language of the server."""


class Row(NamedTuple):
    """One task: its index in the call, and its values by column (by argument in a COPY that is read while sent)."""

    place: int
    values: Mapping[str, Any]


class Step(NamedTuple):
    """One statement, and its rows."""

    statement: sql.SQL | sql.Composed
    params: Mapping[str, Any] = {}
    rows: Sequence[Row] = ()
    lines: Iterable[Sequence[Any]] | None = None
    """The data of a COPY, produced while the server works on what was sent before."""
    answers: bool = False
    """Whether it returns rows."""

    def check_copied(self, number: int) -> None:
        """Raise InvalidTask when fewer rows were inserted than sent."""
        if number < len(self.rows):
            raise InvalidTask(f"of {len(self.rows)} tasks {len(self.rows) - number} were not inserted: {WHO}")

    def explain(self, error: psycopg.Error) -> PgschedError | None:
        """Return our error for one of psycopg's, with the index of the task that caused it."""
        row = self._blamed(error)
        known = explain(error, _values(0, row.values) if row else None)
        if row is None or known is None:
            return known
        place = f"task {row.place}"
        return known.within(place) if isinstance(known, InvalidTask) else type(known)(f"{place}: {known}")

    def _blamed(self, error: psycopg.Error) -> Row | None:
        if line := _LINE.search(error.diag.context or ""):
            number = int(line[1])
            return self.rows[number - 1] if number <= len(self.rows) else None
        place = blamed_value(error, [row.values for row in self.rows])
        return None if place is None else self.rows[place]


Steps = Generator[Step, list[dict[str, Any]], list[int]]


def insert_tasks(specs: Iterable[TaskSpec]) -> Steps:
    """Insert tasks and return their ids in order; an idempotency key in use gives the id of the task that has it.

    Of several tasks with the same key the first is inserted. A long iterable is read while the server processes earlier
    blocks, whose ids are reserved in advance: ids that the last block does not use stay unused.
    """
    tasks = (_arguments(place, spec) for place, spec in enumerate(specs))
    ids: list[int] = []
    while head := list(islice(tasks, HEAD)):
        size = len(head) if len(head) < HEAD else max(BLOCK, len(ids))
        (answer,) = yield Step(sql.SQL(load_statement("reserve_ids")), {"number": size}, answers=True)
        if answer["ids"] is None:
            ids += yield from _call_function(head)
            continue
        block = _Block(len(ids), chain(head, islice(tasks, size - len(head))), answer["ids"])
        if _is_simple(head[0]):
            yield _copy(_values(0, head[0]), block.copied, block.stream(tuple(head[0])))
        else:
            block.defer_all()
        yield from block.insert_deferred(may_stage=answer["may_stage"])
        ids += block.ids
    return ids


def _call_function(tasks: Sequence[Mapping[str, Any]]) -> Generator[Step, list[dict[str, Any]], list[int]]:
    """Insert tasks by the SQL function: slower than COPY, but a producer may do nothing else."""
    if not tasks:
        return []
    statement, text = function_call(tasks)
    answers = yield Step(sql.SQL(statement), {"tasks": text}, answers=True)
    return [int(answer["id"]) for answer in answers]


def call_for(specs: Iterable[TaskSpec]) -> tuple[LiteralString, str]:
    """Return a statement that inserts tasks and returns their ids in order, and its only parameter ``tasks``."""
    return function_call([_arguments(place, spec) for place, spec in enumerate(specs)])


def function_call(tasks: Sequence[Mapping[str, Any]]) -> tuple[LiteralString, str]:
    """Like :func:`call_for`, for the arguments of tasks."""
    return load_statement("schedule_tasks"), json.dumps(tasks)


class _Block:
    """Tasks that have ids: those that one COPY sends while they are read, and those that are deferred."""

    def __init__(self, first: int, tasks: Iterator[Mapping[str, Any]], reserved: Sequence[int]) -> None:
        self.ids: list[int] = []
        self.copied: list[Row] = []
        self._deferred: list[tuple[int, Mapping[str, Any]]] = []
        self._first = first
        self._tasks = tasks
        self._reserved = reserved

    def stream(self, arguments: tuple[str, ...]) -> Iterator[Sequence[Any]]:
        """Yield the lines of the tasks that set just these arguments, and need no answer of the database."""
        for place, task in enumerate(self._tasks):
            task_id = self._reserved[place]
            self.ids.append(task_id)
            if tuple(task) == arguments:
                self.copied.append(Row(self._first + place, task))
                yield (task_id, *task.values())
            else:
                self._deferred.append((place, task))

    def defer_all(self) -> None:
        """Defer all tasks."""
        for _ in self.stream(()):
            raise AssertionError("no task is without arguments")

    def insert_deferred(self, *, may_stage: bool) -> Generator[Step, list[dict[str, Any]], None]:
        """Insert what was deferred: other columns, delays, idempotency keys.

        Where no temporary table may be created (``may_stage``), tasks with keys are inserted by the SQL function.
        """
        if not may_stage:
            keyed = [(place, task) for place, task in self._deferred if "idempotency_key" in task]
            self._deferred = [(place, task) for place, task in self._deferred if "idempotency_key" not in task]
            called = yield from _call_function([task for _, task in keyed])
            for (place, _), task_id in zip(keyed, called, strict=True):
                self.ids[place] = task_id
        instants = yield from _instants(sorted({task["delay"] for _, task in self._deferred if "delay" in task}))
        rows = [Row(self._first + place, _values(self.ids[place], task, instants)) for place, task in self._deferred]
        keyless = [row for row in rows if "idempotency_key" not in row.values]
        for columns, alike in _by_columns(keyless):
            yield _copy(columns, alike, _lines(alike))
        staged = [row for row in rows if "idempotency_key" in row.values]
        found = yield from _insert_keyed(staged)
        for row in staged:
            self.ids[row.place - self._first] = found[row.values["idempotency_key"]]


def _insert_keyed(rows: Sequence[Row]) -> Generator[Step, list[dict[str, Any]], dict[str, int]]:
    """Insert the rows whose key is unused; return the id of each key."""
    missing: dict[str, Row] = {}
    for row in rows:
        missing.setdefault(row.values["idempotency_key"], row)
    ids: dict[str, int] = {}
    for _ in range(TRIES):
        if not missing:
            return ids
        for columns, alike in _by_columns(missing.values()):
            yield Step(_with(sql.SQL(load_statement("create_staged_tasks")), columns))
            yield Step(_with(sql.SQL(load_statement("copy_staged_tasks")), columns), rows=alike, lines=_lines(alike))
            yield Step(_with(sql.SQL(load_statement("insert_staged_tasks")), columns), rows=alike)
            yield Step(sql.SQL(load_statement("drop_staged_tasks")))
        found = yield Step(sql.SQL(load_statement("find_keys")), {"keys": list(missing)}, answers=True)
        ids |= {answer["idempotency_key"]: int(answer["id"]) for answer in found}
        # A row that was in the way may have been deleted since: its key is inserted again.
        missing = {key: row for key, row in missing.items() if key not in ids}
    if missing:
        place = next(iter(missing.values())).place
        raise InvalidTask(KEPT_OUT, place=f"task {place}: ")
    return ids


def _instants(delays: list[str]) -> Generator[Step, list[dict[str, Any]], dict[str, str]]:
    if not delays:
        return {}
    answers = yield Step(sql.SQL(load_statement("add_delays")), {"delays": delays}, answers=True)
    return {answer["delay"]: answer["instant"] for answer in answers}


def _arguments(place: int, spec: object) -> Mapping[str, Any]:
    if not isinstance(spec, TaskSpec):
        raise TypeError(f"task {place}: must be a TaskSpec, got a {type(spec).__name__}")
    return spec.arguments()


def _is_simple(task: Mapping[str, Any]) -> bool:
    """Whether the row follows from the task alone."""
    return "delay" not in task and "idempotency_key" not in task


def _values(task_id: int, task: Mapping[str, Any], instants: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the columns that a task sets, and their values."""
    values = {"id": task_id, **task}
    if "run_at" in values:
        values["scheduled_for"] = values.pop("run_at")
    elif "delay" in values:
        values["scheduled_for"] = (instants or {})[values.pop("delay")]
    return values


def _copy(columns: Iterable[str], rows: Sequence[Row], lines: Iterable[Sequence[Any]]) -> Step:
    return Step(_with(sql.SQL(load_statement("copy_tasks")), columns), rows=rows, lines=lines)


def _lines(rows: Sequence[Row]) -> Iterator[Sequence[Any]]:
    return (tuple(row.values.values()) for row in rows)


def _by_columns(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """Group the rows that set the same columns: every line of a COPY sets the same ones."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.values), []).append(row)
    yield from groups.items()


def _with(statement: sql.SQL, columns: Iterable[str]) -> sql.Composed:
    return statement.format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)))
