"""What is done in another way in threads and on event loops has the same names and comes to the same."""

from __future__ import annotations

import asyncio
import inspect
import threading
from functools import partial

import pytest

from pgsched.concurrency import async_primitives, primitives


def test_both_have_the_same_names() -> None:
    assert async_primitives.__all__ == primitives.__all__


@pytest.mark.parametrize("name", ["run_blocking", "run_stoppable", "uninterrupted"])
def test_functions_take_the_same_and_only_one_half_is_awaited(name: str) -> None:
    one, other = getattr(primitives, name), getattr(async_primitives, name)
    assert [*inspect.signature(one).parameters] == [*inspect.signature(other).parameters]
    assert inspect.iscoroutinefunction(other)
    assert not inspect.iscoroutinefunction(one)


def test_an_event_that_is_not_set_is_waited_for_no_longer_than_was_said() -> None:
    async def wait() -> tuple[bool, bool]:
        event = async_primitives.Event()
        before = await event.wait(0.001)
        event.set()
        return before, await event.wait()

    event = primitives.Event()
    before = event.wait(0.001)
    event.set()
    assert asyncio.run(wait()) == (before, event.wait()) == (False, True)


def test_what_runs_in_the_background_is_joined() -> None:
    ended = []

    async def end() -> None:
        ended.append("task")

    async def join() -> None:
        await async_primitives.Background(end, name="a task").join()

    asyncio.run(join())
    primitives.Background(partial(ended.append, "thread"), name="a thread").join()
    assert ended == ["task", "thread"]


def test_a_function_goes_on_to_its_end_when_its_caller_is_cancelled() -> None:
    async def cancel() -> None:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            begun.set()
            await go_on.wait()
            ended.set()

        caller = asyncio.create_task(async_primitives.uninterrupted(work))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        assert await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(cancel())


def test_a_function_that_blocks_is_stopped_when_its_caller_is_cancelled() -> None:
    begun, stopped = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        if stop.wait(10):
            stopped.set()

    async def cancel() -> None:
        caller = asyncio.create_task(async_primitives.run_stoppable(work))
        await asyncio.to_thread(begun.wait)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(cancel())
    assert stopped.is_set()
    assert primitives.run_stoppable(threading.Event.is_set) is False
