"""Attempts in child processes: what comes back, how they end, what is left of the child."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.attempt import LogLine, Outcome
from pgsched.domain.dependency_results import Results
from pgsched.execution.context import Context
from pgsched.execution.process_pool import Processes, describe_exit
from pgsched.execution.runner import run_attempt
from pgsched.worker.child_process import serve
from tests.support.engine import NOW, claimed
from tests.support.process_app import SERVE, app
from tests.support.waiting import wait_until_async


class Family:
    """Children, and the attempts that are made in them."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._threads: Threads[Outcome] = Threads(limit=1, name="test")
        self.lines: list[LogLine] = []
        self.progress: str | None = None

    async def attempt(
        self,
        task_type: str,
        *,
        timeout: float | None = None,
        results: Results | None = None,
        columns: dict[str, Any] | None = None,
        **payload: Any,
    ) -> Outcome:
        """The one outcome of one attempt."""
        handler = app.registry.get(task_type)
        assert handler is not None
        context = Context(
            task=claimed(task_type=task_type, **columns or {}),
            clock=lambda: 0.0,
            now=lambda: NOW,
            deadline=None,
            is_catchup=True,
        )
        context.equip(None, results)
        outcomes: list[Outcome] = []
        await run_attempt(
            handler,
            payload,
            context,
            timeout=timeout,
            threads=self._threads,
            report=outcomes.append,
            processes=self.processes,
        )
        self.progress, self.lines = context.take_report()
        (outcome,) = outcomes
        return outcome

    async def all_ended(self) -> None:
        """Wait until no child is left."""
        await wait_until_async(lambda: self.processes.count == 0, message="every child has ended")


@asynccontextmanager
async def family() -> AsyncIterator[Family]:
    processes = Processes(SERVE, name="test child")
    try:
        yield Family(processes)
    finally:
        processes.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def begun(folder: Path) -> int:
    """Wait until the handler runs; returns its process."""
    file = folder / "began"
    await wait_until_async(lambda: file.exists() and file.read_text(), message="the handler runs")
    return int(file.read_text())


# What travels.


async def test_a_payload_and_a_result_travel_as_they_are() -> None:
    payload = {"text": "ä\U0001f600\n", "number": 2**60, "float": 0.1, "list": [None, True, {"k": []}]}
    async with family() as one:
        outcome = await one.attempt("echo", **payload)
    assert (outcome.status, outcome.error) == ("completed", None)
    assert json.loads(outcome.result or "") == payload


async def test_a_result_of_a_mebibyte_travels() -> None:
    async with family() as one:
        outcome = await one.attempt("echo", text='"\\' * 250_000)
    assert outcome.status == "completed"
    assert len(outcome.result or "") > 1_000_000


async def test_the_context_is_there() -> None:
    async with family() as one:
        outcome = await one.attempt(
            "facts", timeout=60, results=Results([(5, "a", {"x": 1})]), columns={"attempts": 2, "fencing_token": 9}
        )
    assert outcome.error is None
    assert json.loads(outcome.result or "") == {
        "id": 1,
        "type": "facts",
        "queue": "default",
        "attempt": [2, 3],
        "scheduled_for": NOW.isoformat(),
        "token": 9,
        "remaining": True,
        "deadline": outcome.result and json.loads(outcome.result)["deadline"],
        "catchup": True,
        "cancelled": False,
        "dependencies": {"5": {"x": 1}},
    }


async def test_a_child_is_used_again_by_plain_and_async_handlers() -> None:
    async with family() as one:
        pids = {(await one.attempt(kind)).result for kind in ("pid", "pid_async", "pid")}
        assert len(pids) == 1
        assert pids != {str(os.getpid())}
        assert one.processes.count == 1


async def test_attempts_at_once_have_a_child_each() -> None:
    async with family() as one:
        outcomes = await asyncio.gather(*(one.attempt("pid") for _ in range(3)))
        assert len({outcome.result for outcome in outcomes}) == 3
        assert one.processes.count == 3


async def test_lines_progress_and_records_of_logging_come_back() -> None:
    async with family() as one:
        await one.attempt("talk")
        assert [(line.level, line.message, line.fields) for line in one.lines] == [
            ("info", "sold 3", '{"logger":"shop.orders","order":7}'),
            ("info", "said", '{"by":"ctx"}'),
        ]
        await one.attempt("babble", lines=1200)
        assert len(one.lines) == 1001
        assert one.lines[-1].message == "further lines were dropped"


# How attempts end.


async def test_what_a_handler_raises_is_what_it_is_elsewhere() -> None:
    async with family() as one:
        value, retry, discard, left = [
            await one.attempt("raise", how=how) for how in ("value", "retry", "discard", "x")
        ]
        assert value.status == "failed"
        assert str(value.error).startswith("ValueError: no luck\n")
        assert "in raise_" in str(value.error)
        assert "pgsched/worker/child_process.py" not in str(value.error)
        assert (retry.status, retry.retry_delay, retry.error) == ("failed", 7, "Retry: later")
        assert (discard.status, discard.error) == ("discarded", "Discard: never")
        assert (left.status, str(left.error).split("\n")[0]) == ("failed", "SystemExit: x")
        assert (await one.attempt("no_json")).status == "completed"
        assert one.processes.count == 1, "none of that costs a child"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit", "the child process ended with exit code 3 before the handler did"),
        ("segfault", "the child process was killed by SIGSEGV"),
        ("SIGKILL", "the child process was killed by SIGKILL (by somebody, or by the system for want of memory)"),
        ("SIGTERM", "the child process was killed by SIGTERM"),
        ("SIGABRT", "the child process was killed by SIGABRT"),
    ],
)
async def test_a_child_that_dies_is_a_failed_attempt_that_says_how(how: str, error: str) -> None:
    async with family() as one:
        outcome = await one.attempt("die", how=how)
        assert (outcome.status, outcome.error) == ("failed", error)
        assert ([line.message for line in one.lines], one.progress) == (["the last words"], f'{{"at":"{how}"}}')
        assert (await one.attempt("pid")).status == "completed"
        await wait_until_async(lambda: one.processes.count == 1, message="the dead child is gone")


async def test_a_child_whose_socket_somebody_else_holds_open_is_seen_to_be_dead(tmp_path: Path) -> None:
    try:
        async with family() as one:
            outcome = await one.attempt("forker", folder=str(tmp_path))
        assert outcome.error == "the child process ended with exit code 5 before the handler did"
    finally:
        with suppress(FileNotFoundError):
            os.kill(int((tmp_path / "orphan").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["wait", "wait_async"])
async def test_a_handler_that_overstays_is_ended_and_may_clean_up(tmp_path: Path, kind: str) -> None:
    async with family() as one:
        outcome = await one.attempt(kind, timeout=0.3, folder=str(tmp_path))
        assert (outcome.status, outcome.error) == ("timed_out", "timed out after 0.3 s")
        await one.all_ended()
        assert (tmp_path / "cleaned").exists()


async def test_starting_a_child_is_no_time_of_the_handler() -> None:
    async with family() as one:
        assert (await one.attempt("pid", timeout=0.15)).status == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stubborn", "frozen"])
async def test_a_handler_that_will_not_end_is_killed_and_holds_up_nobody(tmp_path: Path, kind: str) -> None:
    async with family() as one:
        outcome = await one.attempt(kind, timeout=0.3, folder=str(tmp_path))
        pid = await begun(tmp_path)
        assert outcome.status == "timed_out"
        assert is_alive(pid), "the outcome did not wait for its end"
        await one.all_ended()
        assert not is_alive(pid)


async def test_a_cancelled_attempt_is_released_and_its_child_ended(tmp_path: Path) -> None:
    async with family() as one:
        task = asyncio.create_task(one.attempt("wait", folder=str(tmp_path)))
        await begun(tmp_path)
        task.cancel()
        assert (await task).status == "released"
        await one.all_ended()
        assert (tmp_path / "cleaned").exists()


async def test_ctrl_c_in_the_terminal_does_not_reach_a_handler(tmp_path: Path) -> None:
    async with family() as one:
        task = asyncio.create_task(one.attempt("gated", folder=str(tmp_path)))
        pid = await begun(tmp_path)
        assert os.getpgid(pid) == pid != os.getpgid(0)
        os.kill(pid, signal.SIGINT)
        (tmp_path / "go").touch()
        assert (await task).result == '"attempt 1"'


# Memory.


@pytest.mark.slow
async def test_too_much_memory_is_a_failed_attempt_and_a_fresh_child() -> None:
    async with family() as one:
        before = (await one.attempt("pid")).result
        outcome = await one.attempt("limited", megabytes=2000)
        assert (outcome.status, str(outcome.error).split("\n")[0]) == ("failed", "MemoryError (memory_limit 1GB)")
        assert (await one.attempt("limited", megabytes=10)).result == str(10 * 1024**2)
        assert (await one.attempt("pid")).result != before


async def test_a_limit_is_for_its_own_handler_only() -> None:
    async with family() as one:
        await one.attempt("limited", megabytes=1)
        pid, limit = json.loads((await one.attempt("unlimited")).result or "")
        assert (limit, one.processes.count) == (-1, 1), pid


async def test_a_limit_that_no_handler_could_keep_says_so() -> None:
    async with family() as one:
        outcome = await one.attempt("cramped")
        assert outcome.status == "failed"
        assert "memory_limit 1MB is not more than what the child process takes before the handler begins" in str(
            outcome.error
        )


# Children by themselves.


async def test_an_idle_child_that_was_killed_is_replaced() -> None:
    async with family() as one:
        pid = int((await one.attempt("pid")).result or "")
        os.kill(pid, signal.SIGKILL)
        (child,) = one.processes.idle
        await wait_until_async(lambda: child.process.exitcode is not None, message="it is dead")
        assert (await one.attempt("pid")).status == "completed"


async def test_no_child_is_left_after_the_worker(tmp_path: Path) -> None:
    async with family() as one:
        idle = int((await one.attempt("pid")).result or "")
        task = asyncio.create_task(one.attempt("stubborn", folder=str(tmp_path)))
        stubborn = await begun(tmp_path)
        one.processes.close()
        assert not is_alive(idle)
        assert not is_alive(stubborn)
        assert (await task).status == "failed"


async def test_a_child_that_finds_its_connection_closed_by_its_handler_says_so() -> None:
    async with family() as one:
        assert (await one.attempt("read_late")).status == "completed"
        outcome = await one.attempt("hang_up", how="noticed")
        assert str(outcome.error).startswith("the handler closed the connection of its child process")


async def test_an_application_that_a_child_cannot_load_is_named() -> None:
    broken = Processes(
        partial(serve, app_path="tests.nowhere:app", log_level="warning", capture_logs="off"), name="test child"
    )
    outcome = await Family(broken).attempt("pid")
    broken.close()
    assert outcome.status == "failed"
    assert 'could not start: app "tests.nowhere:app"' in str(outcome.error)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "the child process ended with exit code 0 before the handler did"),
        (-11, "the child process was killed by SIGSEGV"),
        (-64, "the child process was killed by SIGRTMAX"),
        (-99, "the child process was killed by signal 99"),
    ],
)
def test_an_exit_code_is_told_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == text
