"""Lets a worker process exit in time, whatever its handlers have left running."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from pgsched.observability import logs

LEAVE_SECONDS = 3.0
"""Grace period for threads, asyncio tasks and exit functions of handlers once the work is done."""
FLUSH_SECONDS = 1.0
"""Grace period for writing what was printed."""


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
