"""How a worker process ends in time, whatever its handlers have left behind."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from pgsched.observability import logs

LEAVE_SECONDS = 3.0
"""How long a process whose work is done waits for threads, asyncio tasks and exit functions of its handlers."""
FLUSH_SECONDS = 1.0
"""How long it waits for whoever reads what they printed."""


def exit_now(code: int) -> NoReturn:
    """End the process at once, but for a moment in which what was logged and printed may go out."""
    logs.flush()
    _flush_streams()
    os._exit(code)


def exit_timer(seconds: float, code: int) -> threading.Timer:
    """Return a timer, to be started, that ends the process with that exit code."""
    timer = threading.Timer(seconds, exit_now, args=(code,))
    timer.daemon = True
    return timer


def exit_soon(code: int) -> None:
    """Let the process end within LEAVE_SECONDS once its main thread has ended; to be called last.

    Threads that a handler started and that are no daemons, calls in the event loop's executor, functions of ``atexit``
    and a reader that does not read would otherwise keep the process as long as they like.
    """
    logs.flush()
    if not _flush_streams():
        os._exit(code)

    def leave() -> None:
        threading.main_thread().join()
        exit_timer(LEAVE_SECONDS, code).run()

    threading.Thread(target=leave, name="pgsched end", daemon=True).start()


def _flush_streams() -> bool:
    """Write what was printed and is still in Python's hands; returns False when nobody takes it."""

    def flush() -> None:
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except Exception:  # noqa: BLE001 - closed, replaced by something else, or the reader is gone
                setattr(sys, name, None)  # or the interpreter flushes it once more, and ends with an error

    thread = threading.Thread(target=flush, name="pgsched end", daemon=True)
    with suppress(RuntimeError):  # no thread can be started
        thread.start()
        thread.join(FLUSH_SECONDS)
        return not thread.is_alive()
    return False
