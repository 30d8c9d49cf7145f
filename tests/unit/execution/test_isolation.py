"""Nothing that an async attempt leaves behind in its asyncio task or its context variables meets another attempt.

Attempts run one after the other in the same slot: of handlers that wait, and of such that never do. Checked against
slots whose attempts share one asyncio task.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.attempts import Function
from tests.support.slots import bench

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")

WAITS = pytest.mark.parametrize("waits", [False, True], ids=["never waits", "waits"])


def on_loop(do: Callable[[asyncio.Task[Any]], Any], *, waits: bool) -> Function:
    """An async handler that does something with the task it finds itself in."""

    async def handler() -> Any:
        if waits:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return do(task)

    return handler


def run(*task_types: str, concurrency: int = 1, **handlers: Function) -> list[Any]:
    """What these attempts returned; None of one that did not complete."""

    async def scenario() -> list[Any]:
        async with bench(concurrency, **handlers) as one:
            return [outcome.result for outcome in await one.run(*task_types)]

    return asyncio.run(scenario())


@WAITS
def test_every_attempt_has_an_asyncio_task_of_its_own(waits: bool) -> None:
    seen: list[asyncio.Task[Any]] = []
    handler = on_loop(seen.append, waits=waits)
    run("mail", "mail", "mail", mail=handler)
    assert len(set(seen)) == 3


@WAITS
def test_what_is_scoped_by_the_current_task_is_fresh_in_every_attempt(waits: bool) -> None:
    sessions: dict[asyncio.Task[Any], list[str]] = {}

    def write(task: asyncio.Task[Any]) -> int:
        session = sessions.setdefault(task, [])
        session.append("a row that is not committed")
        return len(session)

    assert run("mail", "mail", mail=on_loop(write, waits=waits)) == ["1", "1"]


@WAITS
def test_context_variables_do_not_leak_from_one_attempt_to_the_next(waits: bool) -> None:
    def move(_: asyncio.Task[Any]) -> str:
        before = place.get()
        place.set("here")
        return before

    assert run("mail", "mail", mail=on_loop(move, waits=waits)) == ['"nowhere"', '"nowhere"']
    assert place.get() == "nowhere"


def test_context_variables_of_a_plain_handler_do_not_leak_either() -> None:
    def move() -> str:
        before = place.get()
        place.set("here")
        return before

    assert run("mail", "mail", mail=move) == ['"nowhere"', '"nowhere"']


@WAITS
def test_a_name_given_to_the_task_is_gone_with_the_attempt(waits: bool) -> None:
    def rename(task: asyncio.Task[Any]) -> str:
        before = task.get_name()
        task.set_name("mine")
        return before

    first, second = run("mail", "mail", mail=on_loop(rename, waits=waits))
    assert first == second


@WAITS
def test_a_cancellation_that_a_handler_leaves_behind_does_not_strike_the_next_attempt(waits: bool) -> None:
    def cancel(task: asyncio.Task[Any]) -> None:
        task.cancel()

    async def counts() -> int:
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        await asyncio.sleep(0)
        return before

    assert run("mail", "other", "mail", "other", mail=on_loop(cancel, waits=waits), other=counts)[1::2] == ["0", "0"]


@WAITS
def test_a_callback_on_the_current_task_is_called_when_the_attempt_ends(waits: bool) -> None:
    events: list[str] = []

    def watch(task: asyncio.Task[Any]) -> None:
        events.append("runs")
        task.add_done_callback(lambda _: events.append("ended"))

    async def later() -> None:
        await asyncio.sleep(0.001)
        events.append("later")

    run("mail", "other", mail=on_loop(watch, waits=waits), other=later)
    assert events == ["runs", "ended", "later"]


@WAITS
def test_all_tasks_has_the_running_attempt_and_no_ended_one(waits: bool) -> None:
    seen: list[asyncio.Task[Any]] = []

    def look(task: asyncio.Task[Any]) -> list[bool]:
        everything = asyncio.all_tasks()
        seen.append(task)
        return [task in everything, any(earlier in everything for earlier in seen[:-1])]

    assert run("mail", "mail", mail=on_loop(look, waits=waits)) == ["[true,false]"] * 2


@pytest.mark.parametrize("first", ["swallowing", "quick"])
def test_a_timeout_of_one_attempt_does_not_strike_the_next(first: str) -> None:
    entered: list[asyncio.Timeout] = []

    async def leaves_open() -> None:
        limit = asyncio.timeout(0.005)
        await limit.__aenter__()
        entered.append(limit)
        if first == "swallowing":
            await asyncio.sleep(0)

    async def longer() -> str:
        await asyncio.sleep(0.02)
        return "to its end"

    assert run("mail", "other", mail=leaves_open, other=longer)[1] == '"to its end"'
    assert entered


def test_a_task_group_left_open_does_not_strike_the_next() -> None:
    async def fails() -> None:
        await asyncio.sleep(0.001)
        raise ValueError("no luck")

    async def leaves_open() -> None:
        group = asyncio.TaskGroup()
        await group.__aenter__()
        group.create_task(fails())

    async def longer() -> str:
        await asyncio.sleep(0.02)
        return "to its end"

    assert run("mail", "other", mail=leaves_open, other=longer)[1] == '"to its end"'


def test_a_cancel_scope_of_anyio_left_open_does_not_strike_the_next() -> None:
    async def leaves_open() -> None:
        anyio.CancelScope(deadline=anyio.current_time() + 0.005).__enter__()

    async def longer() -> str:
        await asyncio.sleep(0.02)
        return "to its end"

    assert run("mail", "other", mail=leaves_open, other=longer)[1] == '"to its end"'


@WAITS
def test_anyio_works_from_the_first_step_on(waits: bool) -> None:
    async def handler() -> list[Any]:
        if waits:
            await anyio.lowlevel.checkpoint()
        before = anyio.get_cancelled_exc_class() is asyncio.CancelledError
        reached: list[int] = []

        async def child(number: int) -> None:
            await anyio.lowlevel.checkpoint()
            reached.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(child, 1)
            group.start_soon(child, 2)
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        return [before, sorted(reached), scope.cancelled_caught, await anyio.to_thread.run_sync(lambda: 3)]

    assert run("mail", mail=handler) == ["[true,[1,2],true,3]"]


def test_a_handler_that_never_waits_does_not_run_within_another_task() -> None:
    outer: list[Any] = []

    async def scenario() -> None:
        async with bench(mail=on_loop(outer.append, waits=False)) as one:
            mine = asyncio.current_task()
            await one.run("mail")
            assert asyncio.current_task() is mine
            assert outer[0] is not mine

    asyncio.run(scenario())


def test_attempts_beside_one_another_keep_apart() -> None:
    async def handler() -> list[Any]:
        task = asyncio.current_task()
        assert task is not None
        place.set(f"{place.get()}!")
        mine = place.get()
        await asyncio.sleep(0.001)
        return [mine, place.get(), task is asyncio.current_task()]

    assert run(*["mail"] * 20, concurrency=5, mail=handler) == ['["nowhere!","nowhere!",true]'] * 20


def test_an_attempt_that_cancels_every_other_task_frees_its_slot_and_theirs() -> None:
    async def scenario() -> list[str]:
        started = asyncio.Event()

        async def waits() -> None:
            started.set()
            await asyncio.Event().wait()

        async def cancels() -> None:
            await started.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task(), mine}:
                task.cancel()

        async def after() -> None: ...

        mine = asyncio.current_task()
        async with bench(2, waits=waits, cancels=cancels, after=after) as one:
            outcomes = await one.run("waits", "cancels", "after")
            return [outcome.status for outcome in outcomes]

    assert asyncio.run(scenario())[1:] == ["completed", "completed"]
