"""One command to the database: a statement, its parameters, and how its rows are read.

Pure: a module of :mod:`pgsched.db.queries` creates a command and :mod:`pgsched.db.database` runs it, waiting for the
answer in a thread or on an event loop. Rows are dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, LiteralString, NamedTuple, TypeVar

from pgsched.db.sql_files import load_statement
from pgsched.domain.pages import PagedList, paged
from pgsched.domain.records import read
from pgsched.domain.task_filters import SCHEDULE_TYPES, STATUSES
from pgsched.domain.validation import Check, one_of, optional, plain_text

T = TypeVar("T")
Row = dict[str, Any]
Rows = list[Row]

MAX_LIMIT = 10_000
"""Maximum size of a page."""


UNLOGGED: Final = ("workers", "turns", "watchdog", "set_aside")
"""Tables of pgsched that exist on the primary only: standbys do not have them."""
_FROM_UNLOGGED: Final = re.compile(rf"(?<=\bfrom |\bjoin )pgsched\.({'|'.join(UNLOGGED)})\b")


class Command(NamedTuple, Generic[T]):
    """One statement; ``parse`` builds the result from its rows, or raises the error that they stand for."""

    statement: LiteralString
    params: Mapping[str, Any]
    parse: Callable[[Rows], T]
    prepare: bool | None = None
    """False: planned for its parameters each time; None: prepared when it is run often."""
    task: Mapping[str, Any] | None = None
    """The task that it inserts, for drivers other than psycopg."""
    plain: bool = False
    """Whether its only parameter is the text ``tasks`` and it returns ids, so that any driver can run it unchanged."""

    def on_standby(self) -> Command[T]:
        """Return the command that reads unlogged tables as empty ones with the same columns."""
        text = _FROM_UNLOGGED.sub(r"(select (null::pgsched.\1).* where false)", self.statement)
        return self._replace(statement=text)

    def without(self, columns: Sequence[str]) -> Command[T]:
        """Return the command that reads null for these columns of its outermost list, so that they are not fetched."""
        if not columns:
            return self
        chosen, begin, rest = self.statement.partition("\nfrom ")
        chosen = re.sub(rf"\b\w\.({'|'.join(map(re.escape, columns))})\b", r"null as \1", chosen)
        return self._replace(statement=chosen + begin + rest)


def command(name: str, parse: Callable[[Rows], T], /, **params: Any) -> Command[T]:
    """Return the command of ``sql/queries/<name>.sql``."""
    return Command(load_statement(name), params, parse)


def unprepared(name: str, parse: Callable[[Rows], T], /, **params: Any) -> Command[T]:
    """Like :func:`command`, for a statement that is planned for its parameters each time."""
    return command(name, parse, **params)._replace(prepare=False)


_WORDS: Final = (
    *("queue", "task_type", "tag", "tenant_id", "user_id", "created_by", "idempotency_key", "name"),
    *("search", "actor", "action"),
)
_CHOICES: Final[Mapping[str, Check]] = {
    **dict.fromkeys(_WORDS, optional(plain_text)),
    "status": optional(one_of(*STATUSES)),
    "schedule_type": optional(one_of(*SCHEDULE_TYPES)),
}


def choice(**given: str | None) -> dict[str, Any]:
    """Return the parameters that select rows; None selects all. Raises InvalidTask."""
    return {name: _CHOICES[name](name, value) for name, value in given.items()}


def row_as(record: type[T]) -> Callable[[Rows], T]:
    """Read the only row as a record."""
    return lambda rows: read(record, rows[0])


def rows_as(record: type[T]) -> Callable[[Rows], list[T]]:
    """Read every row as a record."""
    return lambda rows: [read(record, row) for row in rows]


def pages_of(record: type[T], kind: str, limit: int, *names: str) -> Callable[[Rows], PagedList[T]]:
    """Read every row as a record, and the start of the next page of a list of this kind, by these columns."""
    return lambda rows: paged(kind, [read(record, row) for row in rows], limit, *names)


def value(column: str) -> Callable[[Rows], Any]:
    """Read one column of the only row."""
    return lambda rows: rows[0][column]


changed: Final[Callable[[Rows], bool]] = value("changed")
"""Read whether the statement changed something."""


def nothing(_rows: Rows) -> None:
    """Read nothing: the statement succeeded, or raised."""
