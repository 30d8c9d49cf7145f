"""pgsched over several databases, as a system that is put on trial."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from chaos.faults.model import Shape, Verdict
from chaos.faults.system import Command, Connection, Pgsched, books_of
from chaos.invariants import ALWAYS, AT_THE_END, EFFECTS, broken_rules
from chaos.shards.books import DUPLICATED, LOST, RULES, gather
from pgsched.db.database import Database
from pgsched.db.queries import shards as commands
from pgsched.domain.shards import ShardMap, read_map

# These follow a task through its history, part of which stays in another database: RULES have them for all together.
_OF_ALL = (
    "an insert that was acknowledged is there",
    "attempts are numbered without a gap",
    "a task is completed if and only if an execution of it is",
    "a task's attempts are all in the history",
)
OF_EACH = {rule: text for rule, text in (ALWAYS | AT_THE_END | EFFECTS).items() if rule not in _OF_ALL}
"""The rules that hold in each database by itself."""


class ShardedSystem(Pgsched):
    """Several databases under one load. The acknowledged are numbers of tasks, not ids."""

    def __init__(self, dsns: Mapping[str, str], *, settled: Sequence[str], moved: Sequence[str], waiting: int) -> None:
        self.dsns = dsns
        self._arguments = (",".join(settled), ",".join(moved), str(waiting))

    def producer(self, shape: Shape) -> Command:
        return Command(module="chaos.load.sharded_producer", arguments=self._arguments)

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        done: Counter[int] = Counter()
        for name in self.dsns:
            with contextlib.suppress(psycopg.OperationalError):  # it is the one that is down
                done.update(self.completions_of(name, since))
        return done

    def completions_of(self, name: str, since: float) -> Mapping[int, int]:
        """Those in one database."""
        with books_of(self.dsns[name]) as books:
            return super().completions(books, since)

    def unfinished(self, books: Connection) -> int:
        total = 0
        for dsn in self.dsns.values():
            with books_of(dsn) as one:
                total += super().unfinished(one)
        return total

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        gather(books, self.dsns, known_map(self.dsns))
        wrong = _described("", broken_rules(books, RULES, acknowledged))
        for name, dsn in self.dsns.items():
            with books_of(dsn) as one:
                wrong += _described(f"shard {name}: ", broken_rules(one, OF_EACH, {}))
        numbers = {"ids": list(acknowledged)}
        return Verdict(
            lost=_number(books.execute(LOST, numbers).fetchone()),
            duplicated=_number(books.execute(DUPLICATED).fetchone()),
            broken=wrong,
        )


@contextmanager
def opened(dsns: Mapping[str, str]) -> Any:
    """The databases, for what is done with all of them."""
    found = {name: Database(dsn=dsn, pool_size=1) for name, dsn in dsns.items()}
    try:
        yield found
    finally:
        for one in found.values():
            one.close()


def known_map(dsns: Mapping[str, str]) -> ShardMap:
    """Where tenants are, as all databases say."""
    with opened(dsns) as databases:
        return read_map(
            {
                name: (one.run(commands.list_shards()), one.run(commands.list_placements()))
                for name, one in databases.items()
            }
        )


def _described(place: str, broken: Mapping[str, tuple[int, Sequence[Mapping[str, Any]]]]) -> list[str]:
    return [
        f"broken: {place}{rule}: {count} rows, such as {[tuple(row.values()) for row in rows]}"
        for rule, (count, rows) in broken.items()
    ]


def _number(row: Mapping[str, Any] | None) -> int:
    assert row is not None
    return int(row["n"])
