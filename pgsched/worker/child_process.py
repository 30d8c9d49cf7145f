"""The main program of a child process: runs the attempts that arrive on its socket, one at a time, in its main thread.

The other end is :mod:`pgsched.execution.process_pool`. A child imports the application itself. It ends on SIGTERM, when
the handler receives a SystemExit so that its ``finally`` blocks run, and when the worker is gone.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from types import FrameType, SimpleNamespace
from typing import Any, cast

from pgsched.app.loading import load_app
from pgsched.concurrency import fork_guard
from pgsched.domain.attempt import Claimed, Outcome
from pgsched.domain.byte_size import size_text
from pgsched.domain.dependency_results import Results
from pgsched.domain.errors import PgschedError
from pgsched.domain.workflow import Named
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.log_capture import capture, release
from pgsched.execution.outcomes import completed, raised
from pgsched.execution.process import exit_now, open_standard_files
from pgsched.execution.process_pool import HUNG_UP, TERM_SECONDS
from pgsched.execution.registry import Registry
from pgsched.execution.signals import end_timers
from pgsched.observability import logs
from pgsched.observability.extras import flush_telemetry, set_up_telemetry

_PR_SET_PDEATHSIG = 1


class _Terminated(SystemExit):
    """SIGTERM came."""


class _Pipe:
    """The child's end of the socket. Lines are sent whole, whatever thread they come from."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)  # even if a handler of the worker called socket.setdefaulttimeout
        self._end = end
        self._identity = self._look()
        self._lock = threading.Lock()
        self.lines = end.makefile("rb")

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; it is dropped when the worker is gone.

        Ends the process when a handler has closed the socket, as ``os.closerange`` does: the result of the attempt
        could no longer be reported.
        """
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            self.check()
            try:
                self._end.sendall(line)
            except ConnectionError:  # the worker is gone
                pass
            except OSError:
                exit_now(HUNG_UP)

    def check(self) -> None:
        """End the process if a handler has closed the socket."""
        try:
            if self._look() == self._identity:
                return
        except OSError:
            pass
        exit_now(HUNG_UP)

    def _look(self) -> tuple[int, int]:
        """Identify the file behind the descriptor, whose number may belong to another file by now."""
        found = os.fstat(self._end.fileno())
        return found.st_dev, found.st_ino


class _Reported(Context):
    """A context that forwards the handler's reports at once, because the process may die at any moment."""

    __slots__ = ("_open", "_passing", "_pipe")

    def __init__(self, pipe: _Pipe, **facts: Any) -> None:
        super().__init__(**facts)
        self._pipe = pipe
        self._open = True
        self._passing = threading.Lock()

    def log_fields(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """Keep a line."""
        super().log_fields(message, level, fields)
        self._pass_on()

    def progress(self, value: Any) -> None:
        """Report the progress of the attempt."""
        super().progress(value)
        self._pass_on()

    def add_steps(self, *parts: Named | Mapping[str, Any]) -> None:
        """Add steps to the group."""
        super().add_steps(*parts)
        with self._passing:
            if self._open:
                self._pipe.send({"progress": None, "lines": [], "steps": self.added_steps})

    def close(self) -> None:
        """End the attempt: later output of its threads belongs to no attempt."""
        with self._passing:
            self._open = False

    def _pass_on(self) -> None:
        with self._passing:
            progress, lines = self.take_report()
            if self._open and (progress is not None or lines):
                self._pipe.send({"progress": progress, "lines": lines})


class _Child:
    """One child process, from the inside."""

    def __init__(self, pipe: _Pipe) -> None:
        """Must be created before the application is imported, which may change the process."""
        self._pipe = pipe
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._attempt: contextvars.ContextVar[Context | None] = contextvars.ContextVar("pgsched child", default=None)
        self._context: Context | None = None
        self._terminated = False
        self._recursion_limit = sys.getrecursionlimit()

    def run(self, registry: Registry, capture_logs: str) -> None:
        """Run attempts until SIGTERM."""
        self._registry = registry
        self._settle()
        threading.Thread(target=self._read, name="pgsched requests", daemon=True).start()
        for handler in registry:
            if handler.executor == "process" and handler.types is not None:
                handler.types.load()  # otherwise the first attempt would pay for it, in its own time
        capturing = capture(capture_logs, self._attempt.get)
        logs.mark_with(self._attempt_fields)
        self._pipe.send({})
        try:
            with suppress(_Terminated):
                while not self._terminated:
                    self._serve(self._requests.get())
        finally:
            release(capturing)

    def _attempt_fields(self) -> Mapping[str, Any]:
        context = self._attempt.get()
        if context is None or context is not self._context:
            return {}
        return {"task_id": context.id, "task_type": context.task_type, "attempt": context.attempt}

    def _read(self) -> None:
        with suppress(OSError):
            for line in self._pipe.lines:
                self._requests.put(json.loads(line))
        self._pipe.check()
        # The worker is gone or no longer uses this child.
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(TERM_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: let it clean up
        self._terminated = True
        if self._context is not None:
            self._context.cancelled = True
        raise _Terminated

    def _serve(self, request: dict[str, Any]) -> None:
        facts = request["task"]
        dependencies = Results(facts.pop("dependencies"))
        trace = facts.pop("trace", None)
        context = _Reported(self._pipe, **_context_arguments(facts, request["deadline"], request["is_catchup"]))
        context.equip(None, dependencies)
        self._context = context
        started = monotonic()
        spent = False
        handler = self._registry.get(facts["task_type"])
        try:
            if handler is None:
                raise LookupError(f"the application has no handler {facts['task_type']!r} in its child process")
            with _traced(trace), _limited(handler.memory_limit):
                value = contextvars.copy_context().run(self._call, handler, request["payload"], context)
            outcome = completed(value, started, handler.types)
        except MemoryError as error:
            spent = True  # whatever is left, a fresh child has more room
            outcome = _out_of_memory(error, handler, started)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the child
            outcome = (
                raised(error, started)
                if handler is None
                else raised(error, started, handler.failure_rules, handler.types)
            )
            if self._terminated:
                _die_of(signal.SIGTERM)
        self._context = None
        context.close()
        self._settle()
        self._pipe.send({"outcome": outcome, "spent": spent or self._terminated})

    def _settle(self) -> None:
        """Undo changes that the application or a handler made to the process and that could end the next attempt."""
        end_timers()
        if not self._terminated:
            signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), self._recursion_limit))
        open_standard_files()

    def _call(self, handler: Handler, payload: dict[str, Any], context: Context) -> object:
        self._attempt.set(context)
        arguments = payload if handler.types is None else handler.types.arguments(payload)
        if handler.context_parameter is not None:
            arguments = {**arguments, handler.context_parameter: context}
        generation = fork_guard.generation
        try:
            value = handler.function(**arguments)
            if handler.is_async:
                value = asyncio.run(value)
        except BaseException as error:
            if fork_guard.generation != generation:
                fork_guard.end_copy(error)
            raise
        if fork_guard.generation != generation:
            fork_guard.end_copy()
        return value


def serve(end: socket.socket, *, app_path: str, log_level: str, capture_logs: str, otel: bool = False) -> None:
    """The main function of a child process: import the application and run attempts until the worker hangs up.

    ``otel`` sets up OpenTelemetry for the handlers in it.
    """
    _belong_to_the_worker()
    logs.configure(log_level)
    pipe = _Pipe(end)
    child = _Child(pipe)
    try:
        app = load_app(app_path)
        if otel:
            set_up_telemetry()
            app.trace()
    except PgschedError as error:
        pipe.send({"problem": str(error)})
        return
    child.run(app.registry, capture_logs)
    if app.tracing is not None:
        flush_telemetry(TERM_SECONDS / 2)


def _belong_to_the_worker() -> None:
    """Die with the worker, however it ends, and leave the terminal's signals to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(PermissionError):
        os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        # If Python itself hangs, the closed socket would go unnoticed.
        worker = os.getppid()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker:  # it died just now
            os.kill(os.getpid(), signal.SIGKILL)


def _context_arguments(facts: dict[str, Any], deadline: float | None, is_catchup: bool) -> dict[str, Any]:
    at, now = facts.pop("at"), datetime.fromisoformat(facts.pop("now"))
    for name in ("scheduled_for", "next_run_at"):
        facts[name] = datetime.fromisoformat(facts[name]) if facts[name] else None
    return {
        # Only the columns of a claimed row that a context uses.
        "task": cast("Claimed", SimpleNamespace(**facts)),
        "clock": monotonic,  # the same in every process of a machine
        "now": lambda: now + timedelta(seconds=monotonic() - at),
        "deadline": deadline,
        "is_catchup": is_catchup,
    }


def _traced(trace: dict[str, str] | None) -> AbstractContextManager[None]:
    """Make the attempt's span, which the worker created, the current one."""
    if not trace:
        return nullcontext()
    from pgsched.observability.tracing import attached

    return attached(trace)


@contextmanager
def _limited(memory: int | None) -> Iterator[None]:
    """Limit the address space of the process."""
    if memory is None:
        yield
        return
    if (used := _address_space()) >= memory:
        raise RuntimeError(
            f"memory_limit {size_text(memory)} is not more than what the child process takes before the handler "
            f"begins ({size_text(used)})"
        )
    before = resource.getrlimit(resource.RLIMIT_AS)
    soft = memory if before[1] == resource.RLIM_INFINITY else min(memory, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """Return the address space in use, in bytes; 0 where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _out_of_memory(error: MemoryError, handler: Handler | None, started: float) -> Outcome:
    limit = handler.memory_limit if handler is not None else None
    outcome = raised(error, started)
    if limit is None:
        return outcome
    first, *rest = str(outcome.error).split("\n")
    return outcome._replace(error="\n".join([f"{first} (memory_limit {size_text(limit)})", *rest]))


def _die_of(number: signal.Signals) -> None:
    """End as if the signal had not been caught, so that the worker sees the cause even if somebody else sent it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a handler may have closed or replaced it
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
