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
from pgsched.cli.task_name import with_task_id
from pgsched.cli.watch import repeat
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
    """From ``--dsn`` or ``PGSCHED_DSN``; several for ``pgsched web`` alone."""
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
        """The DSN as given; empty for libpq's PG* variables."""
        return dsn_from(os.environ, self.given_dsn)


def pass_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a client to the command as its first argument, and close it afterwards; it connects at its first call."""

    @functools.wraps(command)
    def with_client(session: Session, /, *arguments: Any, **given: Any) -> Any:
        from pgsched.client.client import Client  # imported late: not every command needs one

        with Client(session.dsn) as client:
            return command(client, *arguments, **with_task_id(client, given))

    return click.pass_obj(with_client)


def lists(columns: Columns, *, empty: str, then: Callable[[Any], None] | None = None) -> Printer:
    """Turn a function of a client that returns records into a command that prints them as ``--output`` says.

    ``then`` prints what follows a table. If nothing is found, names of queues and types among the filters that do not
    exist are pointed out.
    """

    def say_it(client: Client, found: Any, output: str, given: Mapping[str, Any]) -> None:
        say_records(found, columns, output=output, empty=empty)
        if then is not None and output == TABLE:
            then(found)
        if not found:
            for kind, name in FILTERS_BY_NAME.items():
                value = given.get(name)
                hint_unknown(client, kind, [value] if isinstance(value, str) else value or ())

    return _prints(say_it)


def shows(in_words: Callable[[Any], None]) -> Printer:
    """Turn a function of a client that returns a record into a command that prints it as ``--output`` says."""
    return _prints(lambda _client, found, output, _given: say_record(found, in_words, output=output))


def _prints(say_it: Callable[[Client, Any, str, Mapping[str, Any]], None]) -> Printer:
    def decorate(find: Callable[..., Any]) -> Callable[..., Any]:
        @output_option(*OUTPUTS)
        @watch_option
        @pass_client
        @functools.wraps(find)
        def command(client: Client, output: str, watch: float | None, **given: Any) -> None:
            repeat(lambda: find(client, **given), lambda found: say_it(client, found, output, given), every=watch)

        return command

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
