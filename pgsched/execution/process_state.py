"""Restores, several times a second, process state that the worker relies on and handlers may have changed.

State that matters to handlers alone (locale, environment, umask, a valid working directory) is left to them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable

from pgsched.execution.signals import Signals
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

EVERY_SECONDS = 0.25
"""Interval between checks."""


class ProcessState:
    """Restores the state at the time of its creation."""

    def __init__(self, signals: Signals, *more: Callable[[], None]) -> None:
        """``more`` are additional functions called at each check."""
        self._folder = os.getcwd()  # noqa: PTH109
        self._switch_interval = sys.getswitchinterval()
        self._collects = gc.isenabled()
        self._looks = (signals.hold, open_standard_files, self._keep_folder, self._keep_interpreter, *more)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start checking, on the event loop."""
        loop.call_later(EVERY_SECONDS, self.start, loop)
        for look in self._looks:
            try:
                look()
            except Exception:  # the next check may succeed
                log.exception("not_kept", what=look.__name__)

    def _keep_folder(self) -> None:
        try:
            os.getcwd()  # noqa: PTH109
        except FileNotFoundError:  # removed: child processes could not be started
            os.chdir(self._folder)

    def _keep_interpreter(self) -> None:
        if self._collects and not gc.isenabled():
            gc.enable()
        if sys.getswitchinterval() > self._switch_interval:
            sys.setswitchinterval(self._switch_interval)


def open_standard_files() -> None:
    """Reopen file descriptors 0 to 2 on /dev/null if they were closed.

    Otherwise the next file or socket would get such a number, even a connection to PostgreSQL, and output meant for
    stderr would be written to it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened == number:
                os.set_inheritable(number, True)
            else:  # another thread was faster
                os.close(opened)
