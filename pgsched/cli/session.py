"""What every command shares: the global options, the database and a client on it."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import Columns, say_record, say_records
from pgsched.cli.task_name import with_task_id
from pgsched.domain.settings import dsn_from

if TYPE_CHECKING:
    from pgsched.client.client import Client

DEFAULT_LEVEL = "info"
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

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted."""
        return self.level == "debug"

    @property
    def given_dsn(self) -> str | None:
        """The one that was given; None: none was."""
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


def lists(columns: Columns, *, empty: str) -> Printer:
    """Turn a function of a client that returns records into a command that prints them, as JSON with ``--json``."""
    return _prints(lambda found, as_json: say_records(found, columns, as_json=as_json, empty=empty))


def shows(in_words: Callable[[Any], None]) -> Printer:
    """Turn a function of a client that returns a record into a command that prints it, as JSON with ``--json``."""
    return _prints(lambda found, as_json: say_record(found, in_words, as_json=as_json))


def _prints(say_it: Callable[[Any, bool], None]) -> Printer:
    def decorate(find: Callable[..., Any]) -> Callable[..., Any]:
        @json_option
        @pass_client
        @functools.wraps(find)
        def command(client: Client, as_json: bool, **given: Any) -> None:
            say_it(find(client, **given), as_json)

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
