"""``pgsched.shell``: commands of the allow-list, in process groups that end as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pgsched.builtin import with_builtins
from pgsched.builtin.settings import Builtins
from pgsched.builtin.shell import MAX_OUTPUT_BYTES, Shell
from pgsched.domain.errors import Discard, Retry
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.worker.shutdown import CANCEL_SECONDS
from tests.support.engine import NOW, Engine, claimed, engine, history
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async


def context(**columns: Any) -> Context:
    return Context(
        task=claimed(**{"id": 7, **columns}), clock=monotonic, now=lambda: NOW, deadline=None, is_catchup=False
    )


def run(script: str, **payload: Any) -> dict[str, Any]:
    """Run a script of the shell, which here is just a command as any other."""
    shell = Shell({"it": ("/bin/sh", "-c", script)})
    return asyncio.run(asyncio.wait_for(shell.handle(context(), "it", **payload), 15))


def is_running(pid: int) -> bool:
    """Whether a process lives; one that ended and that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False
    return state not in ("Z", "X")


# What a command gets.


def test_command_runs_without_a_shell(tmp_path: Path) -> None:
    shell = Shell({"show": ("printf", "%s|", "$HOME; `id`", "*", "a b")})
    result = asyncio.run(shell.handle(context(), "show"))
    assert result == {"exit_code": 0, "stdout": "$HOME; `id`|*|a b|", "stderr": ""}


def test_payload_cannot_add_arguments() -> None:
    shell = Shell({"show": ("printf", "%s|")})
    for name in ("show --help", "/bin/ls", "show; ls", ""):
        with pytest.raises(Discard, match=r"^command must be one that this worker allows \(show\), got "):
            asyncio.run(shell.handle(context(), name))


def test_input_comes_on_stdin_as_json() -> None:
    assert run("cat", input={"a": [1, "ü"]})["stdout"] == '{"a":[1,"ü"]}\n'


def test_stdin_is_empty_without_an_input() -> None:
    assert run("cat")["stdout"] == ""


def test_null_is_an_input() -> None:
    assert run("cat", input=None)["stdout"] == "null\n"


def test_input_that_nobody_reads_harms_nothing() -> None:
    assert run("exec <&-; exit 0", input="x" * 500_000)["exit_code"] == 0


def test_environment_is_a_few_variables_and_never_the_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSCHED_DSN", "postgresql://user:secret@host/db")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen = dict(line.split("=", 1) for line in run("env")["stdout"].splitlines())
    assert "secret" not in str(seen)
    assert seen["PGSCHED_TASK_ID"] == "7"
    assert seen["PGSCHED_TASK_TYPE"] == "mail"
    assert seen["PGSCHED_TASK_ATTEMPT"] == "1"
    assert seen["PGSCHED_TASK_SCHEDULED_FOR"] == NOW.isoformat()
    assert seen["PATH"]


# How it ends.


def test_failure_tells_the_last_lines_of_stderr() -> None:
    with pytest.raises(Retry) as failed:
        run("for n in $(seq 100); do echo line $n >&2; done; exit 3")
    lines = [f"line {n}" for n in range(91, 101)]
    assert str(failed.value) == "command 'it' ended with exit code 3: " + "\n".join(lines)


def test_command_that_a_signal_ended_says_which() -> None:
    with pytest.raises(Retry, match=r"^command 'it' ended with SIGSEGV$"):
        run("kill -SEGV $$")


def test_program_that_is_not_there_is_named() -> None:
    shell = Shell({"it": ("/no/such/program",)})
    with pytest.raises(Retry, match=r"cannot be run: /no/such/program: No such file or directory$"):
        asyncio.run(shell.handle(context(), "it"))


def test_output_keeps_its_end_and_never_stops_the_command() -> None:
    result = run("head -c 3000000 /dev/zero | tr '\\0' x; echo end; echo noise >&2")
    assert result["stdout"].startswith("…x")
    assert result["stdout"].endswith("xend\n")
    assert len(result["stdout"]) == MAX_OUTPUT_BYTES + 1
    assert result["stderr"] == "noise\n"


def test_output_that_is_no_text_is_made_fit_to_be_stored() -> None:
    assert run("printf 'a\\000b\\377c'")["stdout"] == "a\\x00b\ufffdc"


def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    result = run(f"sleep 1000 & echo $! > {file}; echo done")
    assert result["stdout"] == "done\n"
    pid = int(file.read_text())
    wait_until(lambda: not is_running(pid), message="the process left behind has ended")


def test_who_leaves_the_group_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    # Nobody can end what left the group; it only must not hold the attempt.
    result = run(
        f"setsid sh -c 'echo $$ > {file}; exec sleep 20' & while [ ! -s {file} ]; do sleep 0.01; done; echo done"
    )
    assert result["stdout"] == "done\n"
    pid = int(file.read_text())
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


# Timeout, cancel, shutdown: the whole group ends.

POLITE = "sleep 1000 & echo $$ $! > {file}; wait"
STUBBORN = "trap '' TERM; (while :; do sleep 0.05; done) & echo $$ $! > {file}; while :; do sleep 0.05; done"
each_script = pytest.mark.parametrize("script", [POLITE, STUBBORN], ids=["polite", "stubborn"])


def worker(dsn: str, file: Path, script: str) -> Any:
    commands = {"it": ("/bin/sh", "-c", script.format(file=file))}
    return engine(dsn, with_builtins(Registry(), Builtins(allow_shell=commands)))


@asynccontextmanager
async def started(dsn: str, file: Path, script: str, **columns: Any) -> AsyncIterator[tuple[Engine, int, list[int]]]:
    """A worker whose command has started: the worker, the task, the processes of the command."""
    with database(dsn) as db:
        task_id = insert_task(db, "shell", payload=json.dumps({"command": "it"}), **columns)
    async with worker(dsn, file, script) as one:
        await one.claim()
        one.worker.executor.feed()
        await wait_until_async(lambda: len(pids_in(file)) == 2, message="it has started")
        pids = pids_in(file)
        assert all(map(is_running, pids))
        yield one, task_id, pids


def pids_in(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def none_of(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_running, pids))


@each_script
async def test_timeout_ends_the_group(dsn: str, tmp_path: Path, script: str) -> None:
    async with started(dsn, tmp_path / "pids", script, timeout="500 milliseconds") as (one, task_id, pids):
        await one.run()
        assert none_of(pids)()
        with database(dsn) as db:
            assert [row["status"] for row in history(db, task_id)] == ["timed_out"]


@each_script
async def test_cancel_ends_the_group(dsn: str, tmp_path: Path, script: str) -> None:
    async with started(dsn, tmp_path / "pids", script) as (one, task_id, pids):
        leased = one.leased_tasks.get(task_id)
        assert leased is not None
        one.leased_tasks.abandon(leased)
        await wait_until_async(none_of(pids), message="the group has ended")


@each_script
async def test_shutdown_ends_the_group_in_the_time_that_it_leaves(dsn: str, tmp_path: Path, script: str) -> None:
    async with started(dsn, tmp_path / "pids", script) as (one, _, pids):
        await one.worker.executor.interrupt(CANCEL_SECONDS)
        await wait_until_async(none_of(pids), message="the group has ended")
        assert one.worker.executor.running == 0


async def test_failed_command_is_tried_again_and_then_dead(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "pgsched.shell", payload=json.dumps({"command": "it"}), max_attempts=2)
        async with worker(dsn, tmp_path / "unused", "echo broken >&2; exit 1") as one:
            await one.work()
            assert task_row(db, task_id)["status"] == "pending"
            db.execute("update pgsched.tasks set next_run_at = now()")
            await one.work()
        row = task_row(db, task_id)
    assert (row["status"], row["attempts"]) == ("dead", 2)
    assert "command 'it' ended with exit code 1: broken" in row["last_error"]


async def test_cancel_while_it_starts_ends_the_group(tmp_path: Path) -> None:
    """Whenever the cancellation comes, nothing is left: also while asyncio is still connecting the pipes."""
    shell = Shell({"it": ("/bin/sh", "-c", POLITE.format(file=tmp_path / "$PGSCHED_TASK_ID"))})
    for number in range(10):
        running = asyncio.create_task(shell.handle(context(id=number), "it"))
        for _ in range(number):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
    pids = [pid for number in range(10) for pid in pids_in(tmp_path / str(number))]
    await wait_until_async(none_of(pids), message="every group has ended")
