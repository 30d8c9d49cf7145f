"""The worker's own tasks: hidden from whoever cancels "all tasks", and begun again whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pgsched.worker import loops
from pgsched.worker.loops import Lasting, own_task
from tests.support.waiting import wait_until_async


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "AGAIN_SECONDS", 0.001)


def nobody(_error: BaseException) -> None:
    """Nobody is told that it ended."""


class Work:
    """Does what it is told each time it begins, then waits."""

    def __init__(self, *ends: BaseException) -> None:
        self._ends: Iterator[BaseException] = iter(ends)
        self.begun = 0

    async def __call__(self) -> None:
        self.begun += 1
        if end := next(self._ends, None):
            raise end
        await asyncio.Event().wait()


async def test_it_is_found_in_no_list_of_tasks() -> None:
    loop = Lasting(Work(), name="mine", on_lost=nobody)
    loop.start()
    other = own_task(asyncio.sleep(30), name="mine too")
    assert not {"mine", "mine too"} & {task.get_name() for task in asyncio.all_tasks()}
    other.cancel()
    await loop.end()


async def test_it_begins_again_after_whatever_ended_it() -> None:
    work = Work(ValueError("a fault"), asyncio.CancelledError(), ExceptionGroup("several", [OSError()]))
    lost: list[BaseException] = []
    loop = Lasting(work, name="mine", on_lost=lost.append)
    loop.start()
    await wait_until_async(lambda: work.begun == 4, message="it has begun four times")
    assert [type(error) for error in lost] == [ValueError, asyncio.CancelledError, ExceptionGroup]
    assert not loop.done
    await loop.end()
    assert loop.done


async def test_it_begins_again_when_somebody_cancels_it_even_before_its_first_step() -> None:
    work = Work()
    loop = Lasting(work, name="mine", on_lost=nobody)
    loop.start()
    assert loop.task is not None
    loop.task.cancel()
    await wait_until_async(lambda: work.begun == 1, message="it has begun")
    loop.task.cancel()
    await wait_until_async(lambda: work.begun == 2, message="it has begun again")
    await loop.end()


async def test_it_ends_for_good_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "AGAIN_SECONDS", 30.0)
    work = Work(ValueError("a fault"))
    loop = Lasting(work, name="mine", on_lost=nobody)
    loop.start()
    await wait_until_async(lambda: loop.begins_again, message="it is about to begin again")
    await loop.end()
    await asyncio.sleep(0)
    assert (work.begun, loop.done) == (1, True)


async def test_or_when_it_may_end_by_itself() -> None:
    loop = Lasting(Work(asyncio.CancelledError()), name="mine", on_lost=nobody, may_end=lambda: True)
    loop.start()
    await loop.wait(10)
    await wait_until_async(lambda: loop.done, message="it has ended")


async def test_work_that_swallows_its_cancellation_is_not_waited_for_longer_than_said() -> None:
    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    loop = Lasting(stubborn, name="mine", on_lost=nobody)
    loop.start()
    await asyncio.sleep(0)
    await loop.end(0.01)
    assert not loop.done
    await loop.end(10)
    assert loop.done


async def test_a_task_factory_that_raises_makes_none_of_ours() -> None:
    def broken(*_arguments: object, **_options: object) -> asyncio.Task[None]:
        raise RuntimeError("in the factory")

    running = asyncio.get_running_loop()
    running.set_task_factory(broken)
    work = Work()
    loop = Lasting(work, name="mine", on_lost=nobody)
    loop.start()
    running.set_task_factory(None)
    await wait_until_async(lambda: work.begun == 1, message="it has begun")
    await loop.end()
