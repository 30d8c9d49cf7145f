"""Names from the database: they complete words, and correct typing errors."""

from __future__ import annotations

import difflib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from pgsched.cli.output import say_aside
from pgsched.domain.errors import PermissionRefused, PgschedError
from pgsched.domain.settings import dsn_from

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.db.queries.names import Kind

CONNECT_SECONDS: Final = "2"
"""How long a completion waits for the server."""
ANSWER_SECONDS: Final = 2.0
"""How long a completion waits for its words altogether."""
_WORDS: Final = {"queue": "queue", "type": "registered task type", "key": "schedule with the key"}

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'task'?`` for the nearest known word, with a space in front; empty if none is near."""
    names = {name.lstrip("-"): name for name in known}  # the dashes would make all options alike
    near = difflib.get_close_matches(word.lstrip("-"), names, n=1)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def nearest(client: Client, kind: Kind, word: str) -> str | None:
    """Return the nearest name to a word that is no name itself; None if nothing is near or the role may not look."""
    from pgsched.db.queries.names import list_names  # imported late: help needs no database

    try:
        known = client.database.run(list_names(kind))
    except PermissionRefused:  # a role that may only insert gets no hints
        return None
    return None if word in known else next(iter(difflib.get_close_matches(word, known, n=1)), None)


def hint_unknown(client: Client, kind: Kind, words: Iterable[str]) -> None:
    """Say on stderr which names do not exist but are near to existing ones; other unknown names may be new."""
    for word in words:
        if near := nearest(client, kind, word):
            say_aside(f"pgsched: there is no {_WORDS[kind]} {word!r}. Did you mean {near!r}?")


def completes(kind: Kind) -> Completion:
    """Return a completion with names from the database; it offers none where the database does not answer soon."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from pgsched.db.queries.names import list_names

        try:
            with _impatient_client(context) as client:
                found = [] if client is None else client.database.run(list_names(kind, begun))
        except (PgschedError, TimeoutError):  # a completion says nothing but words
            return []
        return [CompletionItem(name) for name in found]

    return complete


@contextmanager
def _impatient_client(context: click.Context) -> Iterator[Client | None]:
    """Give a client that soon gives up; None for an embedded server, which would have to be started first."""
    from pgsched.db.dsn import EMBEDDED

    given = context.find_root().params.get("dsns") or ()
    dsn = dsn_from(os.environ, given[-1] if given else None)
    if dsn.startswith(EMBEDDED):
        yield None
        return
    from pgsched.client.client import Client

    os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
    with Client(dsn) as client, _at_most(ANSWER_SECONDS):
        yield client


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after this time, where the system has timers and this is the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
