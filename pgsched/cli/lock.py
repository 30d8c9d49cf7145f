"""``pgsched lock``: lists locks, runs a command while holding one, breaks one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click

from pgsched.cli.errors import REFUSED, say_error
from pgsched.cli.options import confirm, examples, name_argument, yes_option
from pgsched.cli.output import say_done
from pgsched.cli.session import handling, lists, pass_client
from pgsched.client.client import Client
from pgsched.client.lease import MARGIN
from pgsched.client.locks import Held
from pgsched.concurrency.process_groups import end_group, is_group, signal_group
from pgsched.db.queries.locks import LONGEST_TTL, SHORTEST_TTL
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import LockInfo

DEFAULT_TTL = 30.0
LEFTOVER_SECONDS = 1.0
"""Grace period for processes that the command leaves running."""
COLUMNS = {
    "LOCK": "name",
    "HELD": "held",
    "HOLDER": "holder",
    "TOKEN": "fencing_token",
    "ACQUIRED": "acquired_at",
    "UNTIL": "locked_until",
}


@click.group()
def lock() -> None:
    """List locks, run a command while holding one, break one."""


@lock.command("list")
@lists(COLUMNS, empty="no locks")
def list_(client: Client) -> list[LockInfo]:
    """List the locks that are held, and those that expired before they were released."""
    return client.locks()


@lock.command(epilog=examples("pgsched lock run nightly-backup --wait 60 -- ./backup.sh"))
@name_argument
@click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.FloatRange(SHORTEST_TTL, LONGEST_TTL),
    default=DEFAULT_TTL,
    show_default=True,
    help="How long the lock is held after its holder crashes.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="How long to wait for the lock.  [default: not at all]",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_client
def run(client: Client, name: str, ttl: float, wait: float, command: tuple[str, ...]) -> None:
    """Run a command while holding a lock, and exit with its exit code; exit with 1 if the lock is taken.

    The environment variable PGSCHED_LOCK_TOKEN holds the lock's fencing token. If the lock is lost, the command and its
    child processes receive SIGTERM, then SIGKILL.
    """
    held = client.lock(name, ttl=ttl, timeout=wait).acquire()
    try:
        code = _run(held, command)
    finally:
        try:
            held.release()
        except PgschedError as error:  # the command's result stands, and the lock expires by itself
            say_error(error)
    if held.lost:
        say_error(f"lock {name!r} was lost: another holder may have run at the same time as the command")
        code = REFUSED
    click.get_current_context().exit(code)


@lock.command("break")
@name_argument
@yes_option
@pass_client
def break_(client: Client, name: str, yes: bool) -> None:
    """Take a lock away from its holder, which notices within a third of the lock's ttl."""
    held = [one for one in client.locks() if one.name == name and one.held]
    if held:
        confirm(f"Break the lock {name}, which {held[0].holder or 'somebody'} holds?", yes=yes)
    if not client.break_lock(name):
        raise PgschedError(f"lock {name!r} is not held")
    say_done(f"lock {name}: broken")


def _run(held: Held, command: tuple[str, ...]) -> int:
    """Run a command in a new process group while the lock is held; return its exit code."""
    environment = os.environ | {"PGSCHED_LOCK_NAME": held.name, "PGSCHED_LOCK_TOKEN": str(held.fencing_token)}
    try:
        process = subprocess.Popen(command, env=environment, process_group=0)  # noqa: S603 - that is what it is for
    except OSError as error:
        say_error(f"{command[0]} cannot be run: {error.strerror or error}")
        return REFUSED
    watch = threading.Thread(target=_end_when_lost, args=(held, process), daemon=True)

    def pass_on(number: int, _frame: FrameType | None) -> None:  # the lock is released once the command has exited
        signal_group(process.pid, number)

    with handling(pass_on, signal.SIGTERM, signal.SIGINT, signal.SIGHUP), _terminal_lent(process):
        watch.start()
        code = process.wait()
        if is_group(process.pid):
            end_group(process.pid, grace=LEFTOVER_SECONDS)  # it would continue without the lock
    if held.lost:
        watch.join()
    return code if code >= 0 else 128 - code


def _end_when_lost(held: Held, process: subprocess.Popen[bytes]) -> None:
    if held.wait_lost():
        end_group(process.pid, grace=held.ttl * MARGIN)  # after that another holder may have the lock


@contextmanager
def _terminal_lent(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Make the command's group the terminal's foreground group if ours is, or it could not read from the terminal."""
    if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to us when we take the terminal back
    try:
        with suppress(OSError):  # the command has already exited
            os.tcsetpgrp(0, process.pid)
            signal_group(process.pid, signal.SIGCONT)  # it may have been stopped for reading too early
        yield
    finally:
        with suppress(OSError):  # the terminal is gone
            os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)
