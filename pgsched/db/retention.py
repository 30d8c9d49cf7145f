"""Deletes finished tasks on a connection of its own: batches of tasks, days of the history, copies before that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import Cursor
from psycopg.rows import dict_row

from pgsched.db.error_mapping import translate
from pgsched.db.query import Command
from pgsched.db.query_runner import fetch
from pgsched.db.session import ThreadSession
from pgsched.db.sql_files import load_statement
from pgsched.domain.interval import Interval

T = TypeVar("T")

LONGEST_ANSWER = 120.0
"""Seconds that a server may be silent while it works on a batch."""


class Rule(NamedTuple):
    """The retention of a queue's finished or dead tasks."""

    queue: str
    dead: bool
    older_than: Interval | None
    keep: int | None
    archive: bool


class PruneCursor(NamedTuple):
    """A position in the order in which the tasks of a queue ended."""

    at: datetime
    id: int


class Batch(NamedTuple):
    """The result of a batch."""

    looked: int
    """Number of tasks that were examined; some may still be needed."""
    last: PruneCursor | None
    """Where it stopped."""
    completed: int
    cancelled: int
    dead: int
    kept: int = 0
    """Number of tasks that remain because an object of the users' prevents deletion: a foreign key or a trigger."""
    refusal: str | None = None
    """What prevents the deletion of one of them."""


class Picked(NamedTuple):
    """Tasks that nobody needs any more, locked until the transaction ends."""

    looked: int
    last: PruneCursor | None
    ids: list[int]


class Trial(NamedTuple):
    """What would happen to a task that is to be deleted."""

    id: int
    status: str
    refusal: str | None
    """What prevents its deletion; None when nothing does."""


class Day(NamedTuple):
    """A partition of the history whose retention has expired."""

    parent: str
    part: str
    begins: datetime
    ends: datetime
    bytes: int
    ended_before: datetime


class RetentionStore:
    """A connection that deletes. Each method is a transaction of its own, except inside :meth:`transaction`.

    Every method raises DatabaseUnavailable, and PermissionRefused for a role without the rights.
    """

    def __init__(self, dsn: str) -> None:
        self._session = ThreadSession(dsn=dsn, name="pgsched retention", timeout=LONGEST_ANSWER, explain=translate)
        self.close = self._session.close
        self.transaction = self._session.transaction

    def rules(self, queue: str | None = None) -> list[Rule]:
        """Return what holds for each queue that has finished or dead tasks."""
        return [Rule._make(row) for row in self._rows(load_statement("list_retention"), {"queue": queue})]

    def wanted(self) -> bool:
        """Whether any setting deletes something."""
        return bool(self._rows(load_statement("check_retention"), {})[0][0])

    def run(self, command: Command[T]) -> T:
        """Run a command."""
        with self._session.settled() as connection:
            rows = fetch(Cursor(connection, row_factory=dict_row), command)
        return command.parse(rows)

    def cutoff(self, rule: Rule) -> PruneCursor | None:
        """Return the last task that is to go by a rule; None: all may stay."""
        given = {"queue": rule.queue, "dead": rule.dead, "older_than": _text(rule.older_than), "keep": rule.keep}
        rows = self._rows(load_statement("find_prune_cut"), given)
        return PruneCursor._make(rows[0]) if rows else None

    def prune(self, rule: Rule, behind: PruneCursor | None, until: PruneCursor, limit: int) -> Batch | None:
        """Delete one batch: those of ``limit`` tasks that nobody needs. None when somebody else prunes."""
        given = {**_range(rule, behind, until), "most": limit, "archive": rule.archive}
        ((looked, at, task_id, *numbers),) = self._rows(load_statement("prune_tasks"), given)
        return None if looked is None else Batch(looked, PruneCursor(at, task_id) if at else None, *numbers)

    def pick(self, rule: Rule, behind: PruneCursor | None, until: PruneCursor, limit: int) -> Picked | None:
        """Lock the tasks of one batch that nobody needs. None when somebody else prunes."""
        given = {**_range(rule, behind, until), "most": limit}
        ((looked, at, task_id, ids),) = self._rows(load_statement("pick_prunable"), given)
        return None if looked is None else Picked(looked, PruneCursor(at, task_id) if at else None, ids)

    def try_out(self, ids: Sequence[int]) -> list[Trial]:
        """Delete tasks and roll back, to see what would happen to each; only inside :meth:`transaction`."""
        with self.transaction(undo=True):
            return [Trial._make(row) for row in self._rows(load_statement("try_delete"), {"ids": list(ids)})]

    def delete(self, ids: Sequence[int], *, archive: bool) -> None:
        """Delete finished tasks whose deletion nothing prevents."""
        self._rows(load_statement("delete_finished"), {"ids": list(ids), "archive": archive})

    def copy_tasks(self, ids: Sequence[int]) -> Iterator[bytes]:
        """Read tasks as lines of JSON."""
        return self._copy(load_statement("copy_finished"), {"ids": list(ids)})

    def days(self, older_than: Interval | None) -> list[Day]:
        """Return the partitions of the history that are older than this (None uses the settings), oldest first."""
        given = {"older_than": _text(older_than)}
        return [Day._make(row) for row in self._rows(load_statement("list_history_days"), given)]

    def hold(self, day: Day) -> bool:
        """Keep new rows out of a day of the history until the transaction ends; False if it could not be locked now."""
        return bool(self._rows(load_statement("hold_history"), _day(day))[0][0])

    def copy_day(self, day: Day) -> Iterator[bytes]:
        """Read a day of the history as lines of JSON."""
        names = {
            "executions": "copy_executions",
            "execution_logs": "copy_execution_logs",
            "missed_ticks": "copy_missed_ticks",
            "durable_steps": "copy_durable_steps",
        }
        return self._copy(load_statement(names[day.parent]), {"begins": day.begins, "ends": day.ends})

    def drop(self, day: Day) -> bool:
        """Drop a day of the history; False if somebody is using the history."""
        return bool(self._rows(load_statement("drop_history"), _day(day))[0][0])

    def prune_history(self, older_than: Interval | None, limit: int) -> int:
        """Delete history that belongs to no partition of a day; returns the number of rows."""
        given = {"older_than": _text(older_than), "most": limit}
        return int(self._rows(load_statement("prune_history"), given)[0][0])

    def _rows(self, statement: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._session.settled() as connection:
            return connection.execute(statement, given, prepare=True, binary=True).fetchall()

    def _copy(self, statement: LiteralString, given: dict[str, Any]) -> Iterator[bytes]:
        with self._session.settled() as connection, connection.cursor().copy(statement, given) as copy:
            for chunk in copy:
                yield bytes(chunk)


def _range(rule: Rule, behind: PruneCursor | None, until: PruneCursor) -> dict[str, Any]:
    at, task_id = behind or (None, None)
    between = {"from_at": at, "from_id": task_id, "to_at": until.at, "to_id": until.id}
    return {"queue": rule.queue, "dead": rule.dead, **between}


def _day(day: Day) -> dict[str, Any]:
    return {"part": day.part, "ended_before": day.ended_before}


def _text(interval: Interval | None) -> str | None:
    return None if interval is None else interval.to_text()
