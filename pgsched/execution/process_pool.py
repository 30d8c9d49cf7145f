"""Child processes for handlers with ``executor="process"``: reused, but ended if an attempt times out or is cancelled.

The worker and a child exchange lines of JSON through a socket: an attempt goes in, reports and the outcome come out.
Nothing is pickled but the child's main function. The other end is :mod:`pgsched.worker.child_process`.

An attempt takes an idle child or starts one, so there are never more children than concurrent attempts, apart from
those that are exiting. Use it on one event loop, in its thread: on Linux a child dies with the thread that started it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

from pgsched.domain.attempt import LogLine, Outcome
from pgsched.domain.errors import ConfigError
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry

START_SECONDS = 60.0
"""How long a child may take to import the application."""
TERM_SECONDS = 2.0
"""How long a child may clean up after SIGTERM before it gets SIGKILL."""
LOOK_SECONDS = 1.0
"""How often a silent child is checked: its own children may keep its end of the socket open after its death."""
REAP_SECONDS = 0.05
"""How often an exiting child is checked."""
HUNG_UP = 74
"""The exit code of a child whose handler closed its connection to the worker: EX_IOERR."""
MAX_LINE = 16 * 1024 * 1024
"""Maximum length of a line: a result of 1 MiB grows when JSON is nested in JSON."""

Serve = Callable[[socket.socket], None]
"""The main function of a child, called with its end of the socket; must be picklable."""


class ChildFailed(Exception):
    """A child process died, or could not be started; the message says how."""


class Child:
    """One child process, and our end of the socket."""

    def __init__(self, process: BaseProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self.reusable = False
        """Whether it is idle and can run another attempt."""

    async def ready(self) -> None:
        """Wait until the child has imported the application. Raises ChildFailed."""
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise ChildFailed(f"the child process did not start within {START_SECONDS:g} s") from None
        if problem := message.get("problem"):
            raise ChildFailed(f"the child process could not start: {problem}")
        self.reusable = True

    async def run(self, payload: dict[str, Any], context: Context) -> Outcome:
        """Run one attempt; ``context`` receives what the handler reports.

        Raises ChildFailed when the child dies.
        """
        self.reusable = False
        request = {
            "task": context.facts(),
            "deadline": context.deadline_monotonic,
            "is_catchup": context.is_catchup,
            "payload": payload,
        }
        with suppress(ConnectionError):  # it died: reading finds out how
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        while True:
            message = await self._receive()
            if "outcome" in message:
                self.reusable = not message["spent"]
                return Outcome(*message["outcome"])
            context.add_report(message["progress"], [LogLine(*line) for line in message["lines"]])
            context.added_steps = message.get("steps", context.added_steps)

    async def _receive(self) -> dict[str, Any]:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    line = await self._reader.readline()
            except TimeoutError:
                if self.process.exitcode is None:
                    continue
                line = b""
            except ConnectionError:
                line = b""
            if not line.endswith(b"\n"):
                raise ChildFailed(await self._death())
            message: dict[str, Any] = json.loads(line)
            return message

    async def _death(self) -> str:
        deadline = monotonic() + TERM_SECONDS
        while self.process.exitcode is None:
            if monotonic() > deadline:
                return "the child process closed its connection to the worker"
            await asyncio.sleep(0.005)
        return describe_exit(self.process.exitcode)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child and to what it started in its process group."""
        pid = self.process.pid
        if pid is None or self.process.exitcode is not None:
            return
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):  # it has not created its process group yet
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def hang_up(self) -> None:
        """Close our end of the socket: an idle child exits."""
        self._writer.transport.abort()


class Processes:
    """The children of one worker. ``serve`` is their main function; with None none can be started."""

    def __init__(self, serve: Serve | None, *, name: str) -> None:
        self.serve = serve
        self._name = name
        self._context = multiprocessing.get_context("spawn")
        self.idle: list[Child] = []
        self._children: set[Child] = set()
        """Every child that is not known to have exited."""
        self._started = 0

    @property
    def count(self) -> int:
        """The number of children not known to have exited."""
        return len(self._children)

    @asynccontextmanager
    async def child(self) -> AsyncIterator[Child]:
        """Yield a child for one attempt; then keep it if it is reusable, or end it without waiting for its exit.

        Raises ChildFailed when none can be started.
        """
        child = self._take() or await self._start()
        try:
            if not child.reusable:
                await child.ready()
            yield child
        finally:
            if child.reusable:
                self.idle.append(child)
            else:
                self._end(child)

    def close(self) -> None:
        """End every child and wait for their exit; after TERM_SECONDS they are killed."""
        children, self._children = self._children, set()
        self.idle.clear()
        for child in children:
            child.hang_up()
            child.signal(signal.SIGTERM)
        deadline = monotonic() + TERM_SECONDS
        alive: dict[object, Child] = {
            child.process.sentinel: child for child in children if child.process.exitcode is None
        }
        while alive and (left := deadline - monotonic()) > 0:
            for ended in wait([child.process.sentinel for child in alive.values()], left):
                alive.pop(ended).process.join(REAP_SECONDS)
        for child in children:
            child.signal(signal.SIGKILL)
            child.process.join(TERM_SECONDS)

    def _take(self) -> Child | None:
        while self.idle:
            child = self.idle.pop()
            if child.process.exitcode is None:
                return child
            self._end(child)  # it was killed while idle
        return None

    async def _start(self) -> Child:
        assert self.serve is not None  # checked when the worker starts  # noqa: S101
        ours, theirs = socket.socketpair()
        self._started += 1
        process = self._context.Process(
            target=self.serve, args=(theirs,), name=f"{self._name} {self._started}", daemon=False
        )
        try:
            # Only the worker handles Ctrl-C, even before the child can ignore it by itself.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError as error:
            ours.close()
            raise ChildFailed(f"no child process can be started: {error}") from None
        finally:
            theirs.close()
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        except BaseException:
            ours.close()  # the child notices and exits
            raise
        child = Child(process, reader, writer)
        self._children.add(child)
        return child

    def _end(self, child: Child) -> None:
        child.hang_up()
        child.signal(signal.SIGTERM)
        self._reap(child, monotonic() + TERM_SECONDS)

    def _reap(self, child: Child, kill_at: float) -> None:
        if child not in self._children:
            return  # closed in the meantime
        if child.process.exitcode is not None:
            self._children.discard(child)
            return
        if monotonic() >= kill_at:
            child.signal(signal.SIGKILL)
        asyncio.get_running_loop().call_later(REAP_SECONDS, self._reap, child, kill_at)


def check_processes(registry: Registry, serve: Serve | None) -> None:
    """Raise ConfigError if handlers need child processes and none can be started."""
    wanting = sorted(handler.task_type for handler in registry if handler.executor == "process")
    if wanting and serve is None:
        raise ConfigError(
            f'handler {wanting[0]!r} has executor="process", and its child processes have to import the application: '
            "start the worker with pgsched worker --app module:app"
        )


def describe_exit(code: int | None) -> str:
    """Describe how a child process died, from its exit code."""
    if code == HUNG_UP:
        return "the handler closed the connection of its child process to the worker (os.close, os.closerange)"
    if code is None or code >= 0:
        return f"the child process ended with exit code {code} before the handler did"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (by somebody, or by the system for want of memory)" if code == -signal.SIGKILL else ""
    return f"the child process was killed by {name}{hint}"
