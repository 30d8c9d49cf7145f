"""What all commands share: the options of the program, the database and a client for it."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from pgsched.cli.names import hint_unknown
from pgsched.cli.options import output_option, watch_option
from pgsched.cli.output import OUTPUTS, TABLE, Columns, say_record, say_records
from pgsched.cli.several import (
    Answers,
    InShard,
    ask_all,
    client_of,
    merged,
    must_choose,
    say_cursors,
    say_each,
    shard_of_key,
    with_shards,
)
from pgsched.cli.task_name import with_task_id
from pgsched.cli.watch import repeat
from pgsched.domain.errors import ConfigError
from pgsched.domain.settings import dsn_from

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.db.queries.names import Kind

DEFAULT_LEVEL = "info"
FILTERS_BY_NAME: Final[Mapping[Kind, str]] = {"queue": "queue", "type": "task_type"}
"""The filters that name something, and what."""
Printer = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(kw_only=True)
class Session:
    """The global options of one invocation."""

    given_dsns: tuple[str, ...] = ()
    """From ``--dsn`` or ``PGSCHED_DSN``; several for shards, and for the databases of ``pgsched web``."""
    shard: str | None = None
    """From ``--shard``: which of several databases a command is for."""
    dsn_on_line: bool = False
    """Whether it is from ``--dsn``."""
    level: str | None = None
    """From ``--log-level`` or ``PGSCHED_LOG_LEVEL``; None: the command's default."""
    zone: tzinfo | None = UTC
    """From ``--tz`` or ``PGSCHED_TZ``: the zone in which times are shown; None: that of the machine."""
    quiet: bool = False
    """From ``--quiet``: print data and errors only."""

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return self.level == "debug"

    @property
    def given_dsn(self) -> str | None:
        """The DSN that was given last; None if none was."""
        return self.given_dsns[-1] if self.given_dsns else None

    @property
    def dsn(self) -> str:
        """The DSN as given; empty for libpq's PG* variables. Raises UsageError for several without ``--shard``."""
        if self.shard is not None:
            return self.shards[self.shard]
        if len(self.given_dsns) > 1:
            raise must_choose(self.shards, f"this command is for one database, and there are {len(self.given_dsns)}")
        return dsn_from(os.environ, self.given_dsn)

    @property
    def is_several(self) -> bool:
        """Whether a command is for several databases."""
        return len(self.given_dsns) > 1 and self.shard is None

    @property
    def shards(self) -> Mapping[str, str]:
        """The DSNs by name. Raises ConfigError for a malformed name, and for ``--shard`` with an unknown one."""
        from pgsched.db.databases import read_databases  # imported late: help needs no database

        found = read_databases(self.given_dsns or (dsn_from(os.environ),))
        if self.shard is not None and self.shard not in found:
            raise ConfigError(f"must be one of {', '.join(found)}", field="--shard", value=self.shard)
        return found


def pass_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a client to the command as its first argument, and close it afterwards; it connects at its first call."""

    @functools.wraps(command)
    def with_client(session: Session, /, *arguments: Any, **given: Any) -> Any:
        if session.is_several:
            session.shard = _shard_of_task(session, given)
        with client_of(session.dsn) as client:
            return command(client, *arguments, **with_task_id(client, given))

    return click.pass_obj(with_client)


def _shard_of_task(session: Session, given: Mapping[str, Any]) -> str | None:
    """Return the shard of the task that a command is about, if it is named by a key."""
    key = given.get("task_key") or given.get("task_name")
    if key is None:
        return None
    if isinstance(key, int):
        raise must_choose(session.shards, f"task {key} may exist in each database")
    return shard_of_key(session.shards, key)


def lists(columns: Columns, *, empty: str, then: Callable[[Any], None] | None = None) -> Printer:
    """Turn a function of a client that returns records into a command that prints them as ``--output`` says.

    ``then`` prints what follows a table. If nothing is found, names of queues and types among the filters that do not
    exist are pointed out.
    """

    def say_it(client: Client | None, found: Any, output: str, given: Mapping[str, Any]) -> None:
        if client is None:
            say_records(merged(found), with_shards(columns), output=output, empty=empty)
            say_cursors(found)
            return
        say_records(found, columns, output=output, empty=empty)
        if then is not None and output == TABLE:
            then(found)
        if not found:
            for kind, name in FILTERS_BY_NAME.items():
                value = given.get(name)
                hint_unknown(client, kind, [value] if isinstance(value, str) else value or ())

    return _prints(say_it)


def shows(in_words: Callable[[Any], None], *, several: bool = False) -> Printer:
    """Turn a function of a client that returns a record into a command that prints it as ``--output`` says.

    ``several``: of several databases it prints the record of each.
    """

    def say_it(client: Client | None, found: Any, output: str, _given: Mapping[str, Any]) -> None:
        if client is not None:
            say_record(found, in_words, output=output)
        elif output == TABLE:
            say_each(found, in_words)
        else:
            say_records([InShard(name, one) for name, one in found.items()], {}, output=output)

    return _prints(say_it, several=several)


def _prints(say_it: Callable[[Client | None, Any, str, Mapping[str, Any]], None], *, several: bool = True) -> Printer:
    def decorate(find: Callable[..., Any]) -> Callable[..., Any]:
        @pass_client
        def with_one(client: Client, output: str, watch: float | None, **given: Any) -> None:
            repeat(lambda: find(client, **given), lambda found: say_it(client, found, output, given), every=watch)

        def command(context: click.Context, output: str, watch: float | None, **given: Any) -> None:
            session: Session = context.obj
            names_a_task = given.get("task_key") is not None or given.get("task_name") is not None
            if not session.is_several or not several or names_a_task:
                with_one(output=output, watch=watch, **given)
                return
            if given.get("cursor") is not None or given.get("before_id") is not None:
                raise must_choose(session.shards, "a page follows another one in the same database")

            def ask(_name: str, dsn: str) -> Any:
                with client_of(dsn) as client:
                    return find(client, **with_task_id(client, dict(given)))

            def say_all(answers: Answers) -> None:
                say_it(None, answers.found, output, given)
                answers.report()
                codes.append(answers.code)

            codes: list[int] = []
            repeat(lambda: ask_all(session.shards, ask), say_all, every=watch)
            context.exit(codes[-1])

        wrapped: Any = functools.wraps(find)(command)
        return output_option(*OUTPUTS)(watch_option(click.pass_context(wrapped)))

    return decorate


@contextmanager
def handling(handler: Callable[[int, FrameType | None], object], *signals: signal.Signals) -> Iterator[None]:
    """Handle signals in the block; one that is handled otherwise by its end stays so."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, last in before.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, last)


def server(dsn: str) -> AbstractContextManager[str]:
    """Give the libpq DSN of ``dsn``; an embedded server runs for the duration of the block."""
    from pgsched.db.dsn import resolved  # imported late: help needs no database

    return resolved(dsn)
