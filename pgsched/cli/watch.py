"""``--watch``: prints a list or a record again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import click

from pgsched.cli.errors import say_error
from pgsched.cli.output import say
from pgsched.cli.times import shown_in
from pgsched.domain.errors import DatabaseUnavailable

Found = TypeVar("Found")


def repeat(
    find: Callable[[], Found],
    print_it: Callable[[Found], None],
    *,
    every: float | None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Find something and print it; with ``every``, again after that many seconds until the user interrupts.

    A terminal is cleared before each time. Once it has been found, a database that cannot be reached is reported and
    tried again. With ``every`` None, or at first, the error is raised.
    """
    seen = False
    while True:
        try:
            found = find()
        except DatabaseUnavailable as error:
            if not seen:
                raise
            say_error(error)
        else:
            if every is not None:
                _begin(every)
            print_it(found)
            seen = True
        if every is None:
            return
        sleep(every)


def _begin(every: float) -> None:
    """Clear a terminal and print the time; nothing on other outputs, where the next text follows the last one."""
    if sys.stdout.isatty():
        click.clear()
        at = shown_in(datetime.now(UTC)).isoformat(sep=" ", timespec="seconds")
        say(click.style(f"{at}, every {every:g} s, Ctrl-C ends", dim=True))
