"""Handlers that change the process they run in, as badly written programs and their libraries do.

Each function is called on the event loop, in the main thread, by the handler ``loop``, or in a thread by ``thread``;
``async`` ones are awaited.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import decimal
import faulthandler
import gc
import inspect
import locale
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from pgsched import App, Context

app = App()

PROCESS: dict[str, Callable[[], Any]] = {}
LOOP: dict[str, Callable[[], Any]] = {}
SIGNALS: dict[str, Callable[[], Any]] = {}
LATE: dict[str, Callable[[], Any]] = {}
FATAL: dict[str, Callable[[], Any]] = {}
ALL = (PROCESS, LOOP, SIGNALS, LATE, FATAL)


def of(kind: dict[str, Callable[[], Any]]) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Note a function under its name."""

    def note(function: Callable[[], Any]) -> Callable[[], Any]:
        kind[function.__name__] = function
        return function

    return note


@app.task("loop")
async def on_loop(how: str) -> None:
    done = find(how)()
    if inspect.isawaitable(done):
        await done


@app.task("thread")
def in_thread(how: str) -> None:
    find(how)()


def find(how: str) -> Callable[[], Any]:
    return next(kind[how] for kind in ALL if how in kind)


@app.task("ordinary")
async def ordinary(ctx: Context) -> str:
    await asyncio.sleep(0)
    return "done"


@app.task("failing")
async def failing() -> None:
    raise ValueError("as ever")


@app.task("captured")
def captured() -> None:
    logging.getLogger("shop").error("of the handler")


@app.task("child", executor="process")
def child() -> str:
    return "of a child"


@app.task("command")
async def command() -> None:
    """What others do that need their children and their pipes."""
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    reading, writing = os.pipe()
    os.close(reading)
    try:
        os.write(writing, b"\n")
    except BrokenPipeError:
        os.close(writing)


@app.task("interpreter")
async def interpreter() -> list[bool]:
    """What the worker must have put right."""
    return [gc.isenabled(), sys.getswitchinterval() < 1, sys.getrecursionlimit() >= 1000]


@app.task("slow")
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


def raising(*_arguments: object, **_options: object) -> NoReturn:
    raise RuntimeError("of an application")


# The process.


@of(PROCESS)
def excepthooks() -> None:
    sys.excepthook = threading.excepthook = sys.unraisablehook = raising


@of(PROCESS)
def folder_removed() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)


@of(PROCESS)
def umask() -> None:
    os.umask(0o777)


@of(PROCESS)
def other_locale() -> None:
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        break


@of(PROCESS)
def no_environment() -> None:
    os.environ.clear()


@of(PROCESS)
def other_environment() -> None:
    os.environ.update(PGHOST="/nowhere", PGDATABASE="nothing", PGUSER="nobody", PGPORT="1", PGOPTIONS="-c nonsense=1")
    os.environ.update(PGSSLMODE="verify-full", PGHOSTADDR="192.0.2.1", PGREQUIREAUTH="none", PGPASSFILE="/nowhere")


@of(PROCESS)
def other_zone() -> None:
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()


@of(PROCESS)
def streams_gone() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


@of(PROCESS)
def streams_closed() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        assert stream is not None
        stream.close()


@of(PROCESS)
def standard_files_closed() -> None:
    for number in (0, 1, 2):
        os.close(number)


@of(PROCESS)
def socket_timeout() -> None:
    socket.setdefaulttimeout(1e-6)


@of(PROCESS)
def no_collector() -> None:
    gc.disable()


@of(PROCESS)
def recursion_limit() -> None:
    for limit in range(20, 1000):
        try:
            sys.setrecursionlimit(limit)
        except RecursionError:
            continue
        return


@of(PROCESS)
def switch_interval() -> None:
    sys.setswitchinterval(1000)


@of(PROCESS)
def warnings_are_errors() -> None:
    warnings.simplefilter("error")


@of(PROCESS)
def decimals() -> None:
    decimal.setcontext(decimal.Context(prec=1, traps=[decimal.Inexact]))
    decimal.DefaultContext.prec = 1


@of(PROCESS)
def no_log_handlers() -> None:
    logging.getLogger().handlers.clear()


@of(PROCESS)
def sys_exit() -> None:
    sys.exit("enough")


@of(PROCESS)
def keyboard_interrupt() -> None:
    raise KeyboardInterrupt


@of(PROCESS)
def threads_that_end() -> None:
    for target in (sys.exit, _thread.exit, raising):
        threading.Thread(target=target).start()


@of(PROCESS)
def thread_left_behind() -> None:
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()


@of(PROCESS)
def exit_function_that_waits() -> None:
    atexit.register(time.sleep, 3600)


# The event loop.


@of(LOOP)
async def exception_handler() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(sys.exit)  # type: ignore[arg-type]
    loop.call_soon(raising)
    await asyncio.sleep(0)


@of(LOOP)
async def stopped() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


@of(LOOP)
async def closed() -> None:
    asyncio.get_running_loop().close()


@of(LOOP)
async def debugged() -> None:
    asyncio.get_running_loop().set_debug(True)


@of(LOOP)
async def tasks_cancelled() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)


@of(LOOP)
async def all_tasks_cancelled() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


@of(LOOP)
async def tasks_that_exit() -> None:
    async def leave(error: type[BaseException]) -> None:
        raise error

    for error in (SystemExit, KeyboardInterrupt, GeneratorExit):
        asyncio.create_task(leave(error))  # noqa: RUF006
    await asyncio.sleep(0)


@of(LOOP)
async def callbacks_that_exit() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(sys.exit)
    loop.call_later(0.01, sys.exit, "later")


@of(LOOP)
async def executor_shut_down() -> None:
    await asyncio.to_thread(int)
    await asyncio.get_running_loop().shutdown_default_executor()


@of(LOOP)
async def executor_filled() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(50):
        loop.run_in_executor(None, time.sleep, 3600)


@of(LOOP)
async def other_policy() -> None:
    asyncio.set_event_loop_policy(None)
    asyncio.set_event_loop(None)


@of(LOOP)
async def stubborn_task() -> None:
    async def stay() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    asyncio.create_task(stay())  # noqa: RUF006


# Signals.


@of(SIGNALS)
def ignored() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@of(SIGNALS)
def others() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, raising)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


@of(SIGNALS)
def on_the_loop() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        asyncio.get_running_loop().add_signal_handler(number, raising)


@of(SIGNALS)
def off_the_loop() -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, raising)
        loop.remove_signal_handler(number)
        loop.remove_signal_handler(number)


@of(SIGNALS)
def noted_nowhere() -> None:
    signal.set_wakeup_fd(-1)


@of(SIGNALS)
def tracebacks() -> None:
    faulthandler.register(signal.SIGTERM, file=sys.__stderr__)


@of(SIGNALS)
def timers() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
    signal.setitimer(signal.ITIMER_PROF, 0.01)
    signal.alarm(1)


@of(SIGNALS)
def timer_that_raises() -> None:
    signal.signal(signal.SIGALRM, raising)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)


@of(SIGNALS)
def timer_that_exits() -> None:
    signal.signal(signal.SIGALRM, sys.exit)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.05)


@of(SIGNALS)
def interrupted() -> None:
    _thread.interrupt_main()
    _thread.interrupt_main()


@of(SIGNALS)
def broken_pipes_kill() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@of(SIGNALS)
def children_forgotten() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@of(LATE)
def loop_blocked_for_ever() -> None:
    time.sleep(3600)


# What nothing in the process can hold.


@of(FATAL)
def exits() -> None:
    os._exit(3)


@of(FATAL)
def closes_every_file() -> None:
    os.closerange(3, 1000)
