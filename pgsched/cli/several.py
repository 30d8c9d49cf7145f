"""What commands do when several databases are given: lists contain all of them, and one that is down is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pgsched.cli.errors import say_error
from pgsched.cli.output import Columns, say, say_aside
from pgsched.domain.errors import DatabaseUnavailable, TaskNotFound

if TYPE_CHECKING:
    from pgsched.client.client import Client


class InShard(NamedTuple):
    """A record and the shard that it is in."""

    shard: str
    record: Any

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        return {"shard": self.shard, **self.record.as_dict()}


@dataclass(kw_only=True)
class Answers:
    """What the shards returned, and which did not answer."""

    found: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, DatabaseUnavailable] = field(default_factory=dict)

    def report(self) -> None:
        """Report the shards that are down on stderr."""
        for name, error in self.missing.items():
            say_error(f"shard {name} is missing: {error}")

    @property
    def code(self) -> int:
        """The exit code of the command."""
        return 1 if self.missing else 0


def ask_all(dsns: Mapping[str, str], ask: Callable[[str, str], Any]) -> Answers:
    """Call a function with the name and the DSN of each shard. Raises DatabaseUnavailable if all of them are down."""
    answers = Answers()
    for name, dsn in dsns.items():
        try:
            answers.found[name] = ask(name, dsn)
        except DatabaseUnavailable as error:
            answers.missing[name] = error
    if not answers.found:
        raise DatabaseUnavailable("; ".join(f"shard {name}: {error}" for name, error in answers.missing.items()))
    return answers


def with_shards(columns: Columns) -> Columns:
    """Return the columns of records in shards, the shard first."""

    def value(of: str | Callable[[Any], object]) -> Callable[[InShard], object]:
        return lambda one: getattr(one.record, of) if isinstance(of, str) else of(one.record)

    return {"SHARD": "shard"} | {name: value(of) for name, of in columns.items()}


def merged(found: Mapping[str, Iterable[Any]]) -> list[InShard]:
    """Return the records of all shards, shard by shard."""
    return [InShard(name, one) for name, records in found.items() for one in records]


def say_cursors(found: Mapping[str, Any]) -> None:
    """Say how the lists go on that have more."""
    for name, records in found.items():
        if (cursor := getattr(records, "next_cursor", None)) is not None:
            say_aside(f"there may be more in shard {name}: --shard {name} … --cursor {cursor}")


def say_each(found: Mapping[str, Any], say_one: Callable[[Any], None]) -> None:
    """Print the answer of each shard below its name."""
    for number, (name, one) in enumerate(found.items()):
        say(("\n" if number else "") + f"shard {name}")
        say_one(one)


def shard_of_key(dsns: Mapping[str, str], key: str) -> str:
    """Return the shard whose task has this key. Raises TaskNotFound, and DatabaseUnavailable if a shard is down."""
    down: DatabaseUnavailable | None = None
    for name, dsn in dsns.items():
        with client_of(dsn) as client:
            try:
                client.task_id(key)
            except TaskNotFound:
                continue
            except DatabaseUnavailable as error:
                down = DatabaseUnavailable(f"shard {name}: {error}")
            else:
                return name
    raise down or TaskNotFound(f"a task with the key {key!r} does not exist in {', '.join(dsns)}")


@contextmanager
def client_of(dsn: str) -> Iterator[Client]:
    """Give a client of one database."""
    from pgsched.client.client import Client  # imported late: not every command needs one

    with Client(dsn) as client:
        yield client


def must_choose(dsns: Mapping[str, str], reason: str) -> click.UsageError:
    """Return the error for a command that needs one database."""
    context = click.get_current_context(silent=True)
    return click.UsageError(f"{reason}: choose one with --shard {'|'.join(dsns)}, before the command", context)
