"""Puts right, several times a second, what handlers have changed of the process and the worker itself relies on.

What only handlers share (the locale, the environment, the umask, a working directory that exists) is theirs: the worker
relies on none of it.
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
"""How often it looks."""


class ProcessState:
    """Remembers how things were when it was made."""

    def __init__(self, signals: Signals, *more: Callable[[], None]) -> None:
        """``more`` is called at each look, too."""
        self._folder = os.getcwd()  # noqa: PTH109
        self._switch_interval = sys.getswitchinterval()
        self._collects = gc.isenabled()
        self._looks = (signals.hold, open_standard_files, self._keep_folder, self._keep_interpreter, *more)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look from now on, on the event loop."""
        loop.call_later(EVERY_SECONDS, self.start, loop)
        for look in self._looks:
            try:
                look()
            except Exception:  # the next time it may do better
                log.exception("not_kept", what=look.__name__)

    def _keep_folder(self) -> None:
        try:
            os.getcwd()  # noqa: PTH109
        except FileNotFoundError:  # removed: no child process could be started from nowhere
            os.chdir(self._folder)

    def _keep_interpreter(self) -> None:
        if self._collects and not gc.isenabled():
            gc.enable()
        if sys.getswitchinterval() > self._switch_interval:
            sys.setswitchinterval(self._switch_interval)


def open_standard_files() -> None:
    """Let file descriptors 0 to 2 be open: to nowhere, if somebody has closed them.

    The next file that is opened would get such a number, were it a connection to PostgreSQL, and be written to by
    whoever still takes it for stderr.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened == number:
                os.set_inheritable(number, True)
            else:  # somebody else was quicker
                os.close(opened)
