"""The handler ``pgsched.shell``: commands from the operator's allow-list, started by name, without a shell."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from pgsched.builtin.request import MISSING
from pgsched.concurrency.process_groups import how_it_ended, is_group, signal_group
from pgsched.domain.errors import Discard, InvalidTask, Retry
from pgsched.domain.json_text import encode_json
from pgsched.domain.storable import storable
from pgsched.execution.context import Context

MAX_OUTPUT_BYTES = 65_536
"""Maximum size of the stored output of each stream; the end of it is kept."""
SHOWN_LINES = 10
"""Number of stderr lines in the error of a failed command."""
GRACE_SECONDS = 1.0
"""Time from SIGTERM to SIGKILL."""
KILL_SECONDS = 0.5
"""How long to wait for the effect of SIGKILL. Both together are less than the grace period of a stopping worker."""
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""Variables of the worker's environment that a command inherits."""


class Shell:
    """Runs the commands of one worker's allow-list."""

    def __init__(self, commands: Mapping[str, tuple[str, ...]]) -> None:
        self._commands = commands

    async def handle(self, ctx: Context, command: str, input: Any = MISSING) -> dict[str, Any]:
        """Run a command and return its result. Raises Retry if it fails, Discard if it is not allowed."""
        arguments = self._commands.get(command) if isinstance(command, str) else None
        if arguments is None:
            known = ", ".join(sorted(self._commands))
            raise Discard(f"command must be one that this worker allows ({known}), got {str(command)[:200]!r}")
        try:
            given = b"" if input is MISSING else encode_json(input, "input").encode() + b"\n"
        except InvalidTask as error:
            raise Discard(str(error)) from None
        try:
            code, stdout, stderr = await _run(arguments, given, _environment(ctx))
        except OSError as error:
            raise Retry(reason=f"command {command!r} cannot be run: {arguments[0]}: {error.strerror}") from None
        if code != 0:
            last = "\n".join(stderr.strip().splitlines()[-SHOWN_LINES:])
            raise Retry(reason=f"command {command!r} ended with {how_it_ended(code)}" + (f": {last}" if last else ""))
        return {"exit_code": code, "stdout": stdout, "stderr": stderr}


async def _run(arguments: tuple[str, ...], given: bytes, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command; return its exit code and output. Its process group is gone when this returns or raises.

    Raises OSError if it cannot be started.
    """
    transport, process = await _start(arguments, environment, with_stdin=bool(given))
    try:
        stdin: Any = transport.get_pipe_transport(0)
        if stdin is not None:
            # A command need not read its input.
            stdin.write(given)
            stdin.write_eof()
        try:
            await process.exited.wait()
        finally:
            # Also processes that the command left behind: nothing else would end them.
            await _end_group(transport.get_pid())
        with suppress(TimeoutError):
            # A process that left the group may keep the output open; do not wait for it.
            await asyncio.wait_for(process.silent.wait(), GRACE_SECONDS)
    finally:
        transport.close()
    code = transport.get_returncode()
    assert code is not None  # it has exited  # noqa: S101
    return code, process.output[1].text(), process.output[2].text()


async def _start(
    arguments: tuple[str, ...], environment: Mapping[str, str], *, with_stdin: bool
) -> tuple[asyncio.SubprocessTransport, _Process]:
    """Start a command in a new session, without the worker's terminal."""
    starting = asyncio.create_task(
        asyncio.get_running_loop().subprocess_exec(
            _Process,
            *arguments,
            stdin=asyncio.subprocess.PIPE if with_stdin else asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It may already run and have children: asyncio would end only the command itself.
        starting.add_done_callback(_end_at_once)
        await asyncio.wait([starting])
        raise


def _end_at_once(started: asyncio.Task[tuple[asyncio.SubprocessTransport, _Process]]) -> None:
    if not started.cancelled() and started.exception() is None:
        transport, _ = started.result()
        signal_group(transport.get_pid(), signal.SIGKILL)
        transport.close()


async def _end_group(leader: int) -> None:
    """Send SIGTERM to the rest of a group, and SIGKILL to what does not exit in time."""
    alive = signal_group(leader, signal.SIGTERM)
    try:
        alive = alive and not await _gone(leader, GRACE_SECONDS)
    finally:
        if alive:
            signal_group(leader, signal.SIGKILL)
    if alive:
        await _gone(leader, KILL_SECONDS)


async def _gone(leader: int, seconds: float) -> bool:
    """Wait up to ``seconds`` until a group is empty; return whether it is."""
    deadline = monotonic() + seconds
    while is_group(leader):
        if monotonic() >= deadline:
            return False
        await asyncio.sleep(0.02)
    return True


class _Process(asyncio.SubprocessProtocol):
    """Observes a process. Unlike asyncio's Process it notices an exit while another process has the pipes open."""

    def __init__(self) -> None:
        self.output = {1: _Tail(), 2: _Tail()}
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        """Set when all output pipes are closed."""
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output[fd].add(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._open.discard(fd)
        if not self._open:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()


class _Tail:
    """The end of a command's output. All of it is read, so that the command never blocks on a full pipe."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_cut = False

    def add(self, chunk: bytes) -> None:
        """Add output."""
        self._kept += chunk
        if len(self._kept) > MAX_OUTPUT_BYTES:
            del self._kept[:-MAX_OUTPUT_BYTES]
            self._is_cut = True

    def text(self) -> str:
        """Return the stored output, with a leading ellipsis if it was truncated."""
        text = storable(self._kept.decode("utf-8", "replace"), 2 * MAX_OUTPUT_BYTES)
        return "…" + text if self._is_cut else text


def _environment(ctx: Context) -> dict[str, str]:
    """Return the inherited variables and the task's. Never the DSN, which may contain a password."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {
        "PGSCHED_TASK_ID": str(ctx.id),
        "PGSCHED_TASK_TYPE": ctx.task_type,
        "PGSCHED_TASK_QUEUE": ctx.queue,
        "PGSCHED_TASK_ATTEMPT": str(ctx.attempt),
        "PGSCHED_TASK_SCHEDULED_FOR": ctx.scheduled_for.isoformat(),
        "PGSCHED_TASK_FENCING_TOKEN": str(ctx.fencing_token),
    }
