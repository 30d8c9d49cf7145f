"""``pgsched database``: whether the tasks belong to this database, and what lets workers start in a copy."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pgsched.cli.options import confirm, examples, yes_option
from pgsched.cli.output import fields, say, say_done
from pgsched.cli.session import pass_client, shows
from pgsched.domain.database_state import DatabaseState
from pgsched.domain.errors import CopiedDatabase

if TYPE_CHECKING:
    from pgsched.client.client import Client

UNKNOWN = "unknown: the role may not call pg_control_system()"


@click.group()
def database() -> None:
    """Show whether the tasks belong to this database; adopt a copy, hold workers back."""


def _identity(name: str | None, oid: int | None, system: str | None) -> str:
    return f"{name} (oid {oid}) of system {UNKNOWN if system is None else system}"


def _in_words(found: DatabaseState) -> None:
    noted = _identity(found.noted_database_name, found.noted_database_oid, found.noted_system_identifier)
    say(
        fields(
            [
                ("state", found.state),
                ("this database", _identity(found.database_name, found.database_oid, found.system_identifier)),
                ("tasks belong to", None if found.noted_at is None else noted),
                ("noted", found.noted_at),
                ("noted by", found.noted_by),
                ("held since", found.held_at),
                ("held by", found.held_by),
            ]
        )
    )
    if found.problem is not None:
        say(f"\n{found.problem}")


@database.command()
@shows(_in_words)
def show(client: Client) -> DatabaseState:
    """Show whether the tasks belong to this database."""
    return client.database_state()


@database.command(epilog=examples("pgsched --dsn postgresql://owner@staging/shop database adopt --yes"))
@yes_option
@pass_client
def adopt(client: Client, yes: bool) -> None:
    """Let the tasks belong to this database, and end a hold: workers start and run them here."""
    found = client.database_state()
    if found.problem is None and found.noted_at is not None:
        say_done(f"database {found.database_name}: the tasks belong to it already")
        return
    if found.problem is not None:
        confirm(f"{_cause(found.problem)}. Run its tasks here?", yes=yes)
    client.adopt_database(adopted_by=getpass.getuser())
    say_done(f"database {found.database_name}: the tasks belong to it now")


@database.command()
@pass_client
def hold(client: Client) -> None:
    """Keep workers from starting here until the database is adopted: for a copy of a whole server."""
    news = client.hold_database(held_by=getpass.getuser())
    say_done(f"database: workers are held back{'' if news else ' already'}; 'pgsched database adopt' lets them start")


def run_or_ask(dsn: str, run: Callable[[], int]) -> int:
    """Run a worker. If it refuses to start in a copy, ask on a terminal whether to adopt it, and run again."""
    try:
        return run()
    except CopiedDatabase as problem:
        if not sys.stdin.isatty():
            raise
        confirm(f"{_cause(str(problem))}. Run its tasks here?", yes=False)
    from pgsched.client.client import Client  # imported late: other workers do not need it

    with Client(dsn) as client:
        client.adopt_database(adopted_by=getpass.getuser())
    return run()


def _cause(problem: str) -> str:
    """Return the sentence without the command that it advises."""
    return problem.partition("; ")[0]
