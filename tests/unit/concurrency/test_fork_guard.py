"""A handler that forks: the copy of the worker ends with the handler, however it comes back from it.

Checked against a runner that lets the copy go on: it returns to the test, which then runs twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from tests.support.attempts import Function, run

RETURNED = 70


def fork(end: str) -> int:
    """The pid of the copy, which ends as told."""
    pid = os.fork()
    if pid:
        return pid
    if end == "exits":
        os._exit(5)
    if end == "raises SystemExit":
        sys.exit(3)
    if end == "raises":
        raise ValueError("in the copy")
    return 0


def forking(end: str) -> list[Function]:
    """An async handler that has not waited, one that has, and a plain one."""

    async def at_once() -> int:
        return fork(end)

    async def after_waiting() -> int:
        await asyncio.sleep(0.001)
        return fork(end)

    return [at_once, after_waiting, lambda: fork(end)]


def exit_code(function: Function) -> int:
    """Run a handler that returns a pid; how that process ended."""
    outcome = run(function)
    assert outcome.status == "completed", outcome.error
    _, status = os.waitpid(json.loads(str(outcome.result)), 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["at once", "after waiting", "plain"])
@pytest.mark.parametrize(
    ("end", "code"), [("exits", 5), ("raises SystemExit", 3), ("raises", RETURNED), ("returns", RETURNED)]
)
def test_the_copy_ends_with_the_handler(end: str, code: int, kind: int) -> None:
    assert exit_code(forking(end)[kind]) == code


def test_a_copy_that_waits_for_something_of_the_event_loop_ends() -> None:
    async def waits() -> int:
        loop = asyncio.get_running_loop()
        soon: asyncio.Future[None] = loop.create_future()
        pid = os.fork()
        loop.call_later(0.01, soon.set_result, None)
        await soon
        return pid

    assert exit_code(waits) == RETURNED
