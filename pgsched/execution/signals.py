"""The signals of a worker process: which end it, and which must not.

Handlers share the main thread with the worker's event loop, and the process with all other handlers. So while a worker
runs, a few functions of the interpreter are restricted:

- ``signal.signal`` (and ``loop.add_signal_handler``, which calls it) cannot change the signals that stop a worker.
  Handlers for other signals are called, but their exceptions are logged instead of raised: they would interrupt
  whatever the main thread is doing. Timer signals and broken pipes do not end the process by default.
- ``_thread.interrupt_main`` does nothing: it would look like a Ctrl-C.
- ``sys.setrecursionlimit`` cannot lower the limit.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Final, Self

from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

TIMERS: Final = {
    signal.SIGALRM: signal.ITIMER_REAL,
    signal.SIGVTALRM: signal.ITIMER_VIRTUAL,
    signal.SIGPROF: signal.ITIMER_PROF,
}
"""Timer signals, which arrive even after the handler that set the timer has ended."""
_CATCHABLE: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def stopping_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a worker, including SIGHUP unless the process was started by nohup."""
    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)


def end_timers() -> None:
    """Stop all timers."""
    for timer in TIMERS.values():
        signal.setitimer(timer, 0)


class Signals:
    """Controls the signals of this process inside its ``with`` block, in the main thread.

    Enter it before importing an application, which may change them.
    """

    def __init__(self) -> None:
        self._stopping = stopping_signals()
        self._on_stop: Callable[[], object] | None = None
        # One of the few things that are safe in a signal handler; a thread does the work.
        self._noted: SimpleQueue[bool] = SimpleQueue()
        self._note_stop = self._note  # one object, so that it can be recognised
        self._before: dict[int, Any] = {}
        self._signal: Callable[[int, Any], Any] = signal.signal
        self._replaced: dict[tuple[Any, str], Any] = {
            (signal, "signal"): self._set,
            (_thread, "interrupt_main"): _refuse_interrupt,
            (sys, "setrecursionlimit"): _at_least(sys.getrecursionlimit(), sys.setrecursionlimit),
        }

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in _CATCHABLE}
        self._replace()
        self.hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_timers()
        self.release()
        self._replace()
        for number, handler in self._before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                self._signal(number, handler)

    def take(self, on_stop: Callable[[], object]) -> None:
        """Call ``on_stop`` in a separate thread for each stop signal from now on."""
        self._on_stop = on_stop
        threading.Thread(target=self._read, args=(on_stop,), name="pgsched-signals", daemon=True).start()
        self.hold()

    def release(self) -> None:
        """Stop handling stop signals."""
        if self._on_stop is not None:
            self._on_stop = None
            self._noted.put(False)

    def hold(self) -> None:
        """Undo changes to signals that bypassed our functions; called periodically."""
        for number in _CATCHABLE:
            handler = signal.getsignal(number)
            wanted = self._allowed(number, handler)
            # Set stop signals even if Python sees no change: C code such as faulthandler may have made one.
            if wanted is not None and (wanted != handler or wanted is self._note_stop):
                self._signal(number, wanted)

    def _set(self, number: int, handler: Any) -> Any:
        """Replaces ``signal.signal``."""
        allowed = self._allowed(number, handler)
        if allowed is self._note_stop:
            log.warning("signal_kept", signal=signal.Signals(number).name, hint="it ends the worker")
        return self._signal(number, allowed)

    def _allowed(self, number: int, handler: Any) -> Any:
        if number in self._stopping:
            # Until a worker handles them, whatever started it ends the process its own way, perhaps by an exception.
            return handler if self._on_stop is None else self._note_stop
        if number in TIMERS and handler == signal.SIG_DFL:
            return _stray
        if number == signal.SIGPIPE and handler == signal.SIG_DFL:
            return signal.SIG_IGN  # writing to a closed pipe should raise an error
        if number == signal.SIGCHLD and handler == signal.SIG_IGN:
            return signal.SIG_DFL  # otherwise exit codes of child processes are lost
        ours = isinstance(handler, _Contained) or handler in (_stray, self._note_stop, signal.default_int_handler)
        if not callable(handler) or ours or isinstance(handler, signal.Handlers):
            return handler
        return _Contained(handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._noted.put(True)

    def _read(self, on_stop: Callable[[], object]) -> None:
        while self._noted.get():
            try:
                on_stop()
            except Exception:  # this thread must survive for the next signal
                log.exception("stop_failed")

    def _replace(self) -> None:
        """Swap our functions and the interpreter's."""
        for (module, name), function in self._replaced.items():
            self._replaced[module, name] = getattr(module, name)
            setattr(module, name, function)


class _Contained:
    """Calls a signal handler and logs its exceptions."""

    def __init__(self, function: Callable[[int, FrameType | None], object]) -> None:
        self._function = function
        self._failed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._function(number, frame)
        except BaseException:
            if not self._failed:  # once, and not at every signal of a timer
                log.exception("signal_handler_failed", signal=signal.Signals(number).name)
            self._failed = True


def _stray(number: int, _frame: FrameType | None) -> None:
    signal.setitimer(TIMERS[signal.Signals(number)], 0)
    log.warning("stray_signal", signal=signal.Signals(number).name, hint="of a timer that somebody left behind")


def _refuse_interrupt(_number: int = signal.SIGINT, /) -> None:
    log.warning("interrupt_refused", hint="the main thread of a worker runs many tasks")


def _at_least(least: int, function: Callable[[int], None]) -> Callable[[int], None]:
    def set_limit(limit: int, /) -> None:
        function(max(limit, least))

    return set_limit
