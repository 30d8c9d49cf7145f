"""The process of a worker: restores what handlers may have changed of it, and lets it exit in time.

State that only handlers depend on (locale, environment, umask, a valid working directory) is left to them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pgsched.execution.signals import Signals
from pgsched.observability import logs

log = logs.get_logger("pgsched.worker")

EVERY_SECONDS = 0.25
"""Interval between checks."""
LEAVE_SECONDS = 3.0
"""Grace period for threads, asyncio tasks and exit functions of handlers once the work is done."""
FLUSH_SECONDS = 1.0
"""Grace period for writing what was printed."""
THRESHOLDS = (20_000, 50, 100)
"""Objects and generations between two garbage collections. Claims create thousands of objects that live for
milliseconds and form no cycles: with the interpreter's own values (700, 10, 10), scanning them takes an eighth of a
busy worker's time."""


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


def exit_now(code: int) -> NoReturn:
    """Exit at once, after a moment for flushing logs and output."""
    logs.flush()
    _flush_streams()
    os._exit(code)


def exit_timer(seconds: float, code: int) -> threading.Timer:
    """Return an unstarted timer that exits the process with this exit code."""
    timer = threading.Timer(seconds, exit_now, args=(code,))
    timer.daemon = True
    return timer


def exit_soon(code: int) -> None:
    """Make sure that the process exits within LEAVE_SECONDS of its main thread's end; call it last.

    Otherwise non-daemon threads of handlers, calls in the event loop's executor, ``atexit`` functions and a reader that
    does not read could keep the process alive indefinitely.
    """
    logs.flush()
    if not _flush_streams():
        os._exit(code)

    def leave() -> None:
        threading.main_thread().join()
        exit_timer(LEAVE_SECONDS, code).run()

    threading.Thread(target=leave, name="pgsched end", daemon=True).start()


def _flush_streams() -> bool:
    """Flush stdout and stderr; return False if they cannot be written in time."""

    def flush() -> None:
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except Exception:  # noqa: BLE001 - closed, replaced by something else, or the reader is gone
                setattr(sys, name, None)  # otherwise the interpreter flushes it again at exit, and fails

    thread = threading.Thread(target=flush, name="pgsched end", daemon=True)
    with suppress(RuntimeError):  # no thread can be started
        thread.start()
        thread.join(FLUSH_SECONDS)
        return not thread.is_alive()
    return False


def settle_collector() -> None:
    """Exclude what is loaded from garbage collection and collect less often. Only for a process of our own, because it
    changes the whole interpreter."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
