"""Plain functions in threads: what they return reaches the event loop, whoever has stopped waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pgsched.concurrency.thread_pool import Threads
from tests.support.waiting import wait_until


def running(name: str) -> list[threading.Thread]:
    """The threads of the pool of this name."""
    return [thread for thread in threading.enumerate() if thread.name.rpartition(" ")[0] == name]


async def test_every_call_is_answered() -> None:
    threads: Threads[int] = Threads(limit=3, name="test")
    tickets = [threads.submit(lambda number=number: number) for number in range(1000)]  # type: ignore[misc]
    assert [await ticket.future for ticket in tickets] == list(range(1000))
    threads.close()


async def test_no_more_threads_run_than_the_limit() -> None:
    threads: Threads[str] = Threads(limit=2, name="test")
    tickets = [threads.submit(lambda: threading.current_thread().name) for _ in range(50)]
    assert len({await ticket.future for ticket in tickets}) <= 2
    threads.close()


async def test_a_thread_is_only_started_when_all_others_are_busy() -> None:
    threads: Threads[int] = Threads(limit=10, name="one")
    for _ in range(5):
        await threads.submit(threading.get_ident).future
    assert len(running("one")) == 1
    threads.close()


async def test_the_end_of_a_call_can_be_awaited_after_its_future_was_cancelled() -> None:
    gate = threading.Event()
    threads: Threads[bool] = Threads(limit=1, name="test")
    ticket = threads.submit(gate.wait)
    ticket.future.cancel()
    ending = asyncio.ensure_future(ticket.ended())
    await asyncio.sleep(0)
    assert not ending.done()
    gate.set()
    await ending
    assert ticket.returned
    threads.close()


async def test_the_end_of_a_call_that_has_ended_is_not_waited_for() -> None:
    threads: Threads[int] = Threads(limit=1, name="test")
    ticket = threads.submit(threading.get_ident)
    await ticket.future
    await ticket.ended()
    threads.close()


async def test_idle_threads_end_when_closed() -> None:
    threads: Threads[int] = Threads(limit=2, name="idle")
    await threads.submit(threading.get_ident).future
    assert running("idle")
    threads.close()
    wait_until(lambda: not running("idle"), message="the threads end")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_call_that_outlives_its_loop_disturbs_nobody() -> None:
    gate = threading.Event()
    threads: Threads[bool] = Threads(limit=1, name="outliving")

    async def leave() -> None:
        threads.submit(gate.wait)

    asyncio.run(leave())
    assert running("outliving")
    gate.set()
    wait_until(lambda: not running("outliving"), message="the thread ends")
