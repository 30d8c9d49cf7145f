"""Handlers for child processes, which import them by this module's name.

A handler that has a ``folder`` makes the file ``began`` in it, so that the test knows it runs.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pgsched.app.app import App
from pgsched.domain.errors import Discard, Finished, Retry
from pgsched.execution.context import Context
from pgsched.worker.child_process import serve as serve_app

app = App()
SERVE = partial(serve_app, app_path="tests.support.process_app:app", log_level="warning", capture_logs="info")
"""What the children of these handlers do."""

log = logging.getLogger("shop.orders")


@app.task("echo", executor="process")
def echo(**payload: Any) -> dict[str, Any]:
    return payload


@app.task("typed", executor="process")
def typed(day: date, octets: bytes = b"") -> list[Any]:
    return [type(day), day + timedelta(days=1), octets + b"\xff"]


def about_of(ctx: Context) -> list[Any]:
    """What the row says beside what an attempt needs."""
    owners = [ctx.tenant_id, ctx.user_id, ctx.created_by]
    return [ctx.name, list(ctx.tags), ctx.metadata, *owners, ctx.key, ctx.parent_id, ctx.trigger, ctx.run_by]


@app.task("finish", executor="process")
async def finish() -> None:
    raise Finished({"imported": 3})


@app.task("tick_number", executor="process")
def tick_number(ctx: Context) -> int:
    return ctx.tick_number


@app.task("pid", executor="process")
def pid() -> int:
    return os.getpid()


@app.task("fork", executor="process")
def fork() -> int:
    """How its copy ended, which returns as if it were the child process."""
    copy = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) if copy else 0


@app.task("hang_up", executor="process")
def hang_up(how: str) -> None:
    """Close all files, as a program does that becomes a daemon."""
    os.closerange(3, 256)
    if how == "reused":
        for _ in range(20):
            socket.socketpair()[0].detach()
    if how == "noticed":
        time.sleep(60)


@app.task("read_late", executor="process")
def read_late() -> None:
    """Let the child read its socket a moment after it has begun an attempt, as on a busy machine."""
    readinto = socket.SocketIO.readinto

    def late(self: socket.SocketIO, buffer: Any) -> int | None:
        time.sleep(0.2)
        return readinto(self, buffer)

    socket.SocketIO.readinto = late  # type: ignore[method-assign]


@app.task("disturb", executor="process")
def disturb(how: str) -> int:
    if how == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    elif how == "raising":
        signal.signal(signal.SIGALRM, raise_)  # type: ignore[arg-type]
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    elif how == "recursion":
        sys.setrecursionlimit(60)
    return os.getpid()


@app.task("work", executor="process")
def work() -> int:
    """Take longer than a timer that somebody left behind."""

    def deep(levels: int) -> int:
        return levels and deep(levels - 1)

    time.sleep(0.1)
    deep(100)
    return os.getpid()


@app.task("fork_async", executor="process")
async def fork_async() -> int:
    await asyncio.sleep(0)
    return fork()


@app.task("pid_async", executor="process")
async def pid_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@app.task("facts", executor="process")
async def facts(ctx: Context) -> dict[str, Any]:
    return {
        "id": ctx.id,
        "type": ctx.task_type,
        "queue": ctx.queue,
        "attempt": [ctx.attempt, ctx.max_attempts],
        "scheduled_for": ctx.scheduled_for.isoformat(),
        "token": ctx.fencing_token,
        "remaining": ctx.remaining is not None and 0 < ctx.remaining <= 60,
        "deadline": str(ctx.deadline),
        "catchup": ctx.is_catchup,
        "cancelled": ctx.cancelled,
        "dependencies": dict(ctx.dependencies),
    }


@app.task("raise", executor="process")
def raise_(how: str) -> NoReturn:
    errors = {"value": ValueError("no luck"), "retry": Retry(7, "later"), "discard": Discard("never")}
    raise errors.get(how) or SystemExit(how)


@app.task("no_json", executor="process")
def no_json() -> object:
    return {1, 2}


@app.task("die", executor="process")
def die(how: str, ctx: Context) -> None:
    ctx.log("the last words")
    ctx.progress({"at": how})
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


@app.task("wait", executor="process")
def wait(folder: str) -> None:
    """Clean up when it is told to end."""
    _began(folder)
    try:
        time.sleep(60)
    finally:
        Path(folder, "cleaned").touch()


@app.task("wait_async", executor="process")
async def wait_async(folder: str) -> None:
    """Clean up when it is told to end."""
    _began(folder)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        Path(folder, "cleaned").touch()  # noqa: ASYNC240


@app.task("stubborn", executor="process")
def stubborn(folder: str) -> None:
    """End by nothing but SIGKILL."""
    _began(folder)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001
            continue


@app.task("frozen", executor="process")
def frozen(folder: str) -> None:
    """Keep the interpreter from everybody: no signal handler and no thread of the child comes to run."""
    _began(folder)
    sum(range(10**13))


@app.task("gated", executor="process")
def gated(folder: str, ctx: Context) -> str:
    """End when there is a file ``go``."""
    _began(folder)
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return f"attempt {ctx.attempt}"


@app.task("forker", executor="process")
def forker(folder: str) -> None:
    """Die, and leave a process behind that holds the socket open."""
    if os.fork() == 0:
        os.setpgid(0, 0)
        Path(folder, "orphan").write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(folder, "orphan").exists():
        time.sleep(0.005)
    os._exit(5)


@app.task("limited", executor="process", memory_limit="1GB")
def limited(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024**2))


@app.task("cramped", executor="process", memory_limit="1MB")
def cramped() -> None: ...


@app.task("unlimited", executor="process")
def unlimited() -> list[Any]:
    return [os.getpid(), resource.getrlimit(resource.RLIMIT_AS)[0]]


@app.task("talk", executor="process")
def talk(ctx: Context) -> None:
    log.debug("not this")
    log.info("sold %s", 3, extra={"order": 7})
    thread = threading.Thread(target=log.warning, args=("from a thread of no attempt",))
    thread.start()
    thread.join()
    ctx.log("said", by="ctx")


@app.task("babble", executor="process")
def babble(lines: int) -> None:
    for number in range(lines):
        log.info("line %s", number)


def _began(folder: str) -> None:
    Path(folder, "began").write_text(str(os.getpid()))


@app.task("say_about", executor="process")
def about(ctx: Context) -> list[Any]:
    return about_of(ctx)


@app.task("grow", executor="process")
def grow(ctx: Context) -> None:
    ctx.add_steps("echo")
