"""``pgsched lock``: locks listed, held around a command, broken."""

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
from pgsched.cli.options import confirm, json_option, yes_option
from pgsched.cli.output import say, say_rows
from pgsched.cli.session import Session
from pgsched.client.lease import MARGIN
from pgsched.client.locks import Held
from pgsched.concurrency.process_groups import end_group, is_group, signal_group
from pgsched.db.lock_commands import LONGEST_TTL, SHORTEST_TTL
from pgsched.domain.errors import PgschedError

HEADERS = ("LOCK", "HELD", "HOLDER", "TOKEN", "ACQUIRED", "UNTIL")
DEFAULT_TTL = 30.0
LEFTOVER_SECONDS = 1.0
"""What a command leaves running gets so long to end."""


@click.group()
def lock() -> None:
    """List locks, run a command under one, break one."""


@lock.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the locks that are held, and those that were not given back in time."""
    with session.client() as client:
        found = client.locks()
    say_rows(
        found,
        HEADERS,
        [(one.name, one.held, one.holder, one.fencing_token, one.acquired_at, one.locked_until) for one in found],
        as_json=as_json,
        empty="no locks",
    )


@lock.command()
@click.argument("name")
@click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.FloatRange(SHORTEST_TTL, LONGEST_TTL),
    default=DEFAULT_TTL,
    show_default=True,
    help="How long the lock outlives a crash.",
)
@click.option(
    "--wait", metavar="SECONDS", type=click.FloatRange(min=0), default=0.0, help="Wait for it.  [default: not]"
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, name: str, ttl: float, wait: float, command: tuple[str, ...]) -> None:
    """Run a command while holding a lock, and exit as it does; exit with 1 when the lock is not free.

    The command has the lock's fencing token in PGSCHED_LOCK_TOKEN. If the lock is lost the command is ended: SIGTERM,
    then SIGKILL, to it and all that it started.
    """
    session: Session = context.obj
    with session.client() as client:
        held = client.lock(name, ttl=ttl, timeout=wait).acquire()
        try:
            code = _run(held, command)
        finally:
            try:
                held.release()
            except PgschedError as error:  # the command has ended as it has, and the lock will end by itself
                say_error(error)
        if held.lost:
            say_error(f"lock {name!r} was lost: the command was not alone until its end")
            code = REFUSED
    context.exit(code)


@lock.command("break")
@click.argument("name")
@yes_option
@click.pass_obj
def break_(session: Session, name: str, yes: bool) -> None:
    """Take a lock away from whoever has it, who learns of it within a third of the ttl."""
    with session.client() as client:
        held = [one for one in client.locks() if one.name == name and one.held]
        if held:
            confirm(f"Break the lock {name}, which {held[0].holder or 'somebody'} holds?", yes=yes)
        broken = client.break_lock(name)
    if not broken:
        say_error(f"lock {name!r} is not held")
        click.get_current_context().exit(REFUSED)
    say(f"lock {name}: broken")


def _run(held: Held, command: tuple[str, ...]) -> int:
    """Run a command in a process group of its own, for as long as the lock is held; its exit code."""
    environment = os.environ | {"PGSCHED_LOCK_NAME": held.name, "PGSCHED_LOCK_TOKEN": str(held.fencing_token)}
    try:
        process = subprocess.Popen(command, env=environment, process_group=0)  # noqa: S603 - that is what it is for
    except OSError as error:
        say_error(f"{command[0]} cannot be run: {error.strerror or error}")
        return REFUSED
    watch = threading.Thread(target=_end_when_lost, args=(held, process), daemon=True)
    with _signals_passed_on(process), _terminal_lent(process):
        watch.start()
        code = process.wait()
        if is_group(process.pid):
            end_group(process.pid, grace=LEFTOVER_SECONDS)  # it would go on without the lock
    if held.lost:
        watch.join()
    return code if code >= 0 else 128 - code


def _end_when_lost(held: Held, process: subprocess.Popen[bytes]) -> None:
    if held.wait_lost():
        end_group(process.pid, grace=held.ttl * MARGIN)  # after that the lock may be somebody else's


@contextmanager
def _terminal_lent(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Make the command's group the one that the terminal belongs to, if it is ours: else it could not read from it."""
    if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # what we get for taking the terminal back
    try:
        with suppress(OSError):  # the command has ended already
            os.tcsetpgrp(0, process.pid)
            signal_group(process.pid, signal.SIGCONT)  # it may have tried to read before
        yield
    finally:
        with suppress(OSError):  # the terminal has gone away
            os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


@contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the command, and we end with it: the lock is given back when it has ended."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        signal_group(process.pid, signal.Signals(number))

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
