"""Handlers and hooks that log what cannot be logged, and that change the process they run in."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import gc
import locale
import logging
import logging.config
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog

from chaos.poison.endings import Hostile
from chaos.poison.kind import COMPLETED, DEAD, Kind
from pgsched.domain.events import Event
from pgsched.execution.context import Context

HOOKED = "poison_hook"


def failing_hook(event: Event) -> None:
    """Raises, for tasks of this kind."""
    if event.task_type == f"{HOOKED}_raises":
        raise ValueError("the hook fails")
    if event.task_type == f"{HOOKED}_exits":
        raise SystemExit(7)


def blocking_hook(event: Event) -> None:
    """Blocks, for tasks of this kind."""
    if event.task_type == f"{HOOKED}_blocks":
        time.sleep(3.0)


_STDERR = asyncio.Lock()
"""One at a time spoils the worker's stderr, and mends it again."""
SPOILED_SECONDS = 0.6


@contextlib.asynccontextmanager
async def _stderr_as(descriptor: int) -> AsyncIterator[None]:
    """What is written to stderr meanwhile goes there; the descriptor is closed."""
    async with _STDERR:
        kept = os.dup(2)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


async def _with_dead_reader() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    async with _stderr_as(writer):
        await asyncio.sleep(SPOILED_SECONDS)


async def _with_full_pipe() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    async with _stderr_as(writer):
        await asyncio.sleep(SPOILED_SECONDS)
    os.close(reader)  # whoever is still writing gets an error


async def _with_full_disk() -> None:
    async with _stderr_as(os.open("/dev/full", os.O_WRONLY)):
        await asyncio.sleep(SPOILED_SECONDS)


async def _with_closed_stderr() -> None:
    async with _stderr_as(os.open("/dev/null", os.O_WRONLY)):
        os.close(2)
        await asyncio.sleep(SPOILED_SECONDS)


async def _without_stderr() -> None:
    async with _STDERR:
        kept, sys.stderr = sys.stderr, None  # type: ignore[assignment]
        try:
            await asyncio.sleep(SPOILED_SECONDS)
        finally:
            sys.stderr = kept


def _log_everything(ctx: Context) -> None:
    log = logging.getLogger("customer")
    for hostile in ("\0", "\ud800", "x" * 10_000_000, "%s %d"):
        ctx.log(hostile, hostile=hostile)
        log.warning(hostile)
    for value in (float("nan"), {1: {2, 3}}, Hostile(), b"\xff", "\udfff\0", "x" * 1_000_000):
        ctx.progress(value)
        ctx.log("odd fields", value=value)
        log.warning("odd: %s", value)
        log.warning("odd: %d", value)
    for number in range(3000):
        ctx.log(f"line {number}")
    ctx.log_fields("odd names", "\0" * 500, {"\0": 1, "\ud800": 2})
    try:
        raise ValueError(Hostile())
    except ValueError:
        log.exception("an error that has no text")


def _configures_structlog() -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("no logging today")

    structlog.configure(processors=[breaks], logger_factory=breaks, cache_logger_on_first_use=False)


def _configures_logging() -> None:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": "CRITICAL"}})


def _raises_on_logging() -> None:
    class Breaks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no logging today")

    logging.getLogger().addHandler(Breaks())
    logging.getLogger("pgsched").addHandler(Breaks())
    logging.raiseExceptions = True


async def _changes_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def _sets_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    await asyncio.sleep(0.3)


def _loses_folder() -> None:
    os.chdir("/")
    os.umask(0o777)


def _warns() -> None:
    warnings.simplefilter("error")


def _changes_hooks() -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("no hooks today")

    sys.excepthook = breaks
    threading.excepthook = breaks
    sys.unraisablehook = breaks


async def _changes_loop() -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("no handler today")

    asyncio.get_running_loop().set_exception_handler(breaks)
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().call_soon(breaks)


async def _leaves_tasks() -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("nobody waits for this one")

    async def stays() -> None:
        await asyncio.sleep(1.0)

    for make in (fails, stays):
        _left.append(asyncio.create_task(make()))


_left: list[asyncio.Task[None]] = []


def _changes_zone() -> None:
    os.environ.clear()
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()


def _interrupts() -> None:
    _thread.interrupt_main()
    time.sleep(0.1)


async def _cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("by its own hand")
    await asyncio.sleep(0)


# The action of a handler, the handler, and the possible outcomes of its task.
DEEDS: dict[str, tuple[Callable[..., Any], str, tuple[str, ...]]] = {
    "log-everything": (
        _log_everything,
        "log lines, fields and progress that cannot be stored or shown",
        (COMPLETED, DEAD),
    ),
    "structlog-configured": (_configures_structlog, "a handler calls `structlog.configure`", (COMPLETED,)),
    "logging-configured": (_configures_logging, "a handler calls `logging.config.dictConfig`", (COMPLETED,)),
    "logging-disabled": (lambda: logging.disable(logging.CRITICAL), "a handler calls `logging.disable`", (COMPLETED,)),
    "logging-shut-down": (logging.shutdown, "a handler calls `logging.shutdown`", (COMPLETED,)),
    "logging-raises": (_raises_on_logging, "a handler adds a log handler that raises", (COMPLETED, DEAD)),
    "signals-changed": (_changes_signals, "a handler takes over SIGTERM and SIGINT", (COMPLETED,)),
    "alarm": (_sets_alarm, "a handler sets an alarm that kills by default", (COMPLETED,)),
    "folder-lost": (_loses_folder, "a handler changes the working folder and the umask", (COMPLETED,)),
    "warnings-raise": (_warns, "a handler turns warnings into errors", (COMPLETED,)),
    "hooks-changed": (_changes_hooks, "a handler sets `sys.excepthook` and its like", (COMPLETED,)),
    "loop-changed": (_changes_loop, "a handler gives the event loop an exception handler that raises", (COMPLETED,)),
    "tasks-left": (_leaves_tasks, "a handler leaves asyncio tasks behind, one of which fails", (COMPLETED,)),
    "zone-changed": (_changes_zone, "a handler empties the environment and changes the time zone", (COMPLETED,)),
    "locale-changed": (
        lambda: locale.setlocale(locale.LC_ALL, "C") and None,
        "a handler sets the locale",
        (COMPLETED,),
    ),
    "garbage-disabled": (gc.disable, "a handler switches the collector of garbage off", (COMPLETED,)),
    "interrupted": (_interrupts, "a handler calls `_thread.interrupt_main`", (COMPLETED, DEAD)),
    "self-cancelled": (_cancels_itself, "a handler cancels its own asyncio task", (DEAD,)),
}

SPOILERS: dict[str, tuple[Callable[..., Any], str]] = {
    "stderr-dead-reader": (_with_dead_reader, "the reader of the worker's stderr has exited"),
    "stderr-full-pipe": (_with_full_pipe, "the worker's stderr is a pipe that is full and that nobody reads"),
    "stderr-full-disk": (_with_full_disk, "the worker's stderr is a file on a full disk"),
    "stderr-closed": (_with_closed_stderr, "the worker's stderr is closed"),
    "stderr-none": (_without_stderr, "`sys.stderr` is None"),
}


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """Builtins have no signature that a payload could be compared with."""

    def deed() -> None:
        function()

    return deed if function in (logging.shutdown, gc.disable) else function


async def _fine() -> None:
    await asyncio.sleep(0.01)


KINDS = (
    *(
        Kind(
            name=name,
            does=does,
            handler=_named(function),
            fates=fates,
            columns={"max_attempts": "1"},
            doctor=("dead_letters", "{name}") if fates == (DEAD,) else None,
        )
        for name, (function, does, fates) in DEEDS.items()
    ),
    *(
        Kind(
            name=name,
            does=does,
            handler=function,
            # The worker has something to say meanwhile.
            tasks="""
                insert into pgsched.tasks (task_type, metadata, payload, scheduled_for)
                select '{name}', '{"poison": "{mark}"}', case when n > 0 then '{"nonsense": 1}'::jsonb else '{}' end,
                  now() + n * interval '50 milliseconds'
                from generate_series(0, 15) n returning id
            """,
            fates=(COMPLETED, DEAD),
            words="unexpected argument",
        )
        for name, (function, does) in SPOILERS.items()
    ),
    Kind(name="hook-raises", does="a hook of the application raises", handler=_fine, fates=(COMPLETED,), rows=3),
    Kind(name="hook-exits", does="a hook raises SystemExit", handler=_fine, fates=(COMPLETED,), rows=3),
    Kind(name="hook-blocks", does="a hook blocks for three seconds", handler=_fine, fates=(COMPLETED,)),
)
