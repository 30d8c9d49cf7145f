"""The signals of a worker process: those that end it, and those that must not.

Handlers share the main thread with the worker's event loop, and the process with all other handlers. So while a worker
runs, a few functions of the interpreter have less effect than usual:

- ``signal.signal`` (and ``loop.add_signal_handler``, which calls it) leaves the signals that stop a worker alone. A
  function for another signal is called, but what it raises goes no further: it would strike between any two steps of
  whatever the main thread does. No signal of a timer, or of a broken pipe, ends the process by default.
- ``_thread.interrupt_main`` does nothing: nobody could tell it from a Ctrl-C.
- ``sys.setrecursionlimit`` goes not below what it was.
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
"""What timers send, also after the handler that set one has ended."""
_CATCHABLE: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def stopping_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a worker; SIGHUP is none of them when the process was started by nohup."""
    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)


def end_timers() -> None:
    """Let no timer send a signal any more."""
    for timer in TIMERS.values():
        signal.setitimer(timer, 0)


class Signals:
    """The signals of this process, while it is entered; to be used in the main thread.

    To be entered before an application is imported, which may change them.
    """

    def __init__(self) -> None:
        self._stopping = stopping_signals()
        self._on_stop: Callable[[], object] | None = None
        # Safe in a signal handler, as hardly anything else is: a thread does what is to be done.
        self._noted: SimpleQueue[bool] = SimpleQueue()
        self._note_stop = self._note  # one object, to be known again
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
        """Call ``on_stop`` from now on, in a thread of its own, for each signal to stop that comes."""
        self._on_stop = on_stop
        threading.Thread(target=self._read, args=(on_stop,), name="pgsched-signals", daemon=True).start()
        self.hold()

    def release(self) -> None:
        """Take no more signals to stop."""
        if self._on_stop is not None:
            self._on_stop = None
            self._noted.put(False)

    def hold(self) -> None:
        """Undo what was done to the signals past our functions; to be called now and then."""
        for number in _CATCHABLE:
            handler = signal.getsignal(number)
            wanted = self._allowed(number, handler)
            # Those that stop also where Python knows of no change: C code, as that of faulthandler, may have made one.
            if wanted is not None and (wanted != handler or wanted is self._note_stop):
                self._signal(number, wanted)

    def _set(self, number: int, handler: Any) -> Any:
        """As ``signal.signal``."""
        allowed = self._allowed(number, handler)
        if allowed is self._note_stop:
            log.warning("signal_kept", signal=signal.Signals(number).name, hint="it ends the worker")
        return self._signal(number, allowed)

    def _allowed(self, number: int, handler: Any) -> Any:
        if number in self._stopping and self._on_stop is not None:
            return self._note_stop
        if number in TIMERS and handler == signal.SIG_DFL:
            return _stray
        if number == signal.SIGPIPE and handler == signal.SIG_DFL:
            return signal.SIG_IGN  # of a reader that died, the interpreter wants an error
        if number == signal.SIGCHLD and handler == signal.SIG_IGN:
            return signal.SIG_DFL  # else nobody learns how a child process ended
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
            except Exception:  # the next signal must find somebody
                log.exception("stop_failed")

    def _replace(self) -> None:
        """Let our functions and those of the interpreter change places."""
        for (module, name), function in self._replaced.items():
            self._replaced[module, name] = getattr(module, name)
            setattr(module, name, function)


class _Contained:
    """Calls somebody's function for a signal."""

    def __init__(self, function: Callable[[int, FrameType | None], object]) -> None:
        self._function = function
        self._failed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._function(number, frame)
        except BaseException:
            if not self._failed:  # once, and not at every tick of a timer
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
