"""What an async handler may use of asyncio; tests/unit/execution/test_isolation.py has what may not leak."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

from pgsched.domain.attempt import Outcome
from tests.support.attempts import attempt, run
from tests.support.engine import PATIENCE

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


def test_a_handler_keeps_its_context_variables_over_every_step() -> None:
    async def handler() -> list[str]:
        seen = []
        for number in range(3):
            place.set(f"{place.get()}{number}")
            await asyncio.sleep(0)
            seen.append(place.get())
        return seen

    assert run(handler).result == '["nowhere0","nowhere01","nowhere012"]'


def test_tasks_a_handler_makes_inherit_its_context_variables() -> None:
    async def child() -> str:
        return place.get()

    async def handler() -> str:
        place.set("parent")
        return await asyncio.create_task(child())

    assert run(handler).result == '"parent"'


def test_asyncio_timeout_works_inside_a_handler() -> None:
    async def handler() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    assert run(handler, timeout=PATIENCE).result == '"in time"'


def test_a_task_group_works_inside_a_handler() -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def handler() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert run(handler).result == "[0,1,2]"


def test_a_task_group_that_fails_fails_the_attempt() -> None:
    async def bad() -> None:
        raise ValueError("no luck")

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bad())
            group.create_task(asyncio.Event().wait())

    outcome = run(handler)
    assert outcome.status == "failed"
    assert "no luck" in str(outcome.error)


def test_a_handler_is_timed_out_after_a_task_group_of_its_own_failed() -> None:
    async def bad() -> None:
        raise ValueError("no luck")

    async def handler() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(bad())
        await asyncio.Event().wait()

    assert run(handler, timeout=0.05).status == "timed_out"


def test_current_task_is_there_inside_a_handler() -> None:
    async def handler() -> bool:
        return asyncio.current_task() is not None

    assert run(handler).result == "true"


def test_a_gather_and_a_future_work_inside_a_handler() -> None:
    async def handler() -> list[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 2)
        return [*await asyncio.gather(asyncio.sleep(0, 1), future)]

    assert run(handler).result == "[1,2]"


def test_a_plain_handler_sees_the_context_variables_of_the_worker() -> None:
    async def scenario() -> Outcome:
        place.set("the worker's")
        return await attempt(lambda: place.get())

    assert asyncio.run(scenario()).result == '"the worker\'s"'
