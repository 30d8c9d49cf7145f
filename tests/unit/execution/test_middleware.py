"""Middleware around an attempt: what it sees of the handler, and what the outcome sees of both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pgsched.app.app import App
from pgsched.app.router import Router
from pgsched.domain.errors import Discard, RegistrationError, Retry
from pgsched.execution.context import Context
from pgsched.execution.middleware import CallNext, Middleware, with_middleware
from pgsched.execution.registry import Registry
from tests.support.attempts import Function, attempt, run
from tests.support.engine import handlers, nothing

both = pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])


def noting(name: str, happened: list[str]) -> Middleware:
    async def middleware(ctx: Context, call_next: CallNext) -> Any:
        happened.append(f"{name} begins {ctx.id}")
        try:
            return await call_next(ctx)
        except BaseException as error:
            happened.append(f"{name} sees {type(error).__name__}")
            raise
        finally:
            happened.append(f"{name} ends")

    return middleware


def doing(act: Callable[[], Any]) -> list[Function]:
    """An async and a plain handler that do something."""

    async def on_loop() -> Any:
        return act()

    return [on_loop, act]


def fail(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


@both
def test_the_first_one_is_outermost_and_the_result_is_the_handler_s(kind: int) -> None:
    happened: list[str] = []
    around = [noting("outer", happened), noting("inner", happened)]
    assert run(doing(lambda: 7)[kind], middleware=around).result == "7"
    assert happened == ["outer begins 1", "inner begins 1", "inner ends", "outer ends"]


@both
def test_the_handler_gets_its_arguments_and_the_context(kind: int) -> None:
    async def on_loop(to: str, ctx: Context) -> list[Any]:
        return [to, ctx.id]

    def plain(to: str, ctx: Context) -> list[Any]:
        return [to, ctx.id]

    function: Function = [on_loop, plain][kind]
    assert run(function, {"to": "a"}, middleware=[noting("", [])]).result == '["a",1]'


@both
@pytest.mark.parametrize(
    ("error", "status", "delay"),
    [
        (ValueError("bad"), "failed", None),
        (Retry(7), "failed", 7),
        (Discard("gone"), "discarded", None),
        (SystemExit(3), "failed", None),
    ],
)
def test_what_a_handler_raises_passes_through(
    kind: int, error: BaseException, status: str, delay: float | None
) -> None:
    happened: list[str] = []
    outcome = run(doing(fail(error))[kind], middleware=[noting("one", happened)])
    assert (outcome.status, outcome.retry_delay) == (status, delay)
    assert happened == ["one begins 1", f"one sees {type(error).__name__}", "one ends"]


@both
def test_what_middleware_returns_or_raises_is_the_attempt_s(kind: int) -> None:
    async def other(ctx: Context, call_next: CallNext) -> str:
        return f"not {await call_next(ctx)}"

    async def broken(ctx: Context, call_next: CallNext) -> None:
        raise OSError("no tenant")

    function = doing(lambda: 7)[kind]
    assert run(function, middleware=[other]).result == '"not 7"'
    outcome = run(function, middleware=[broken])
    assert outcome.status == "failed"
    assert str(outcome.error).startswith("OSError: no tenant")


def test_a_payload_that_does_not_fit_is_never_begun() -> None:
    happened: list[str] = []
    assert run(nothing, {"to": "a"}, middleware=[noting("one", happened)]).status == "discarded"
    assert happened == []


def test_a_plain_handler_runs_in_a_thread_and_its_middleware_on_the_loop() -> None:
    threads: list[int] = []

    async def middleware(ctx: Context, call_next: CallNext) -> Any:
        threads.append(threading.get_ident())
        await call_next(ctx)
        threads.append(threading.get_ident())

    run(lambda: threads.append(threading.get_ident()), middleware=[middleware])
    assert threads[0] == threads[2] != threads[1]


def test_a_timeout_ends_both() -> None:
    happened: list[str] = []

    async def slow() -> None:
        await asyncio.Event().wait()

    outcome = run(slow, timeout=0.02, middleware=[noting("one", happened)])
    assert outcome.error == "timed out after 0.02 s"
    assert happened == ["one begins 1", "one sees CancelledError", "one ends"]


def test_time_of_the_middleware_counts_for_the_timeout() -> None:
    async def slow(ctx: Context, call_next: CallNext) -> None:
        await call_next(ctx)
        await asyncio.Event().wait()

    assert run(nothing, timeout=0.02, middleware=[slow]).status == "timed_out"


async def test_a_plain_handler_that_overstays_its_timeout_keeps_its_slot() -> None:
    go_on, told, contexts = threading.Event(), list[str](), list[Context]()

    def slow(ctx: Context) -> None:
        contexts.append(ctx)
        go_on.wait(10)

    running = asyncio.create_task(attempt(slow, timeout=0.02, middleware=[noting("one", told)]))
    async with asyncio.timeout(10):
        while "one ends" not in told:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    assert not running.done()
    assert contexts[0].cancelled
    go_on.set()
    assert (await running).status == "timed_out"


# Whose it is.


def test_without_middleware_a_worker_has_the_very_handlers_of_the_app() -> None:
    registry = handlers(mail=nothing)
    assert with_middleware(registry, App().surroundings().middleware_of) is registry


def test_middleware_of_a_router_is_around_its_own_handlers() -> None:
    app, router, inner = App(), Router(), Router()
    of_app, of_router, of_inner = (noting(name, []) for name in ("app", "router", "inner"))
    router.include(inner)
    app.include(router)
    inner.middleware(of_inner)
    router.middleware(of_router)
    app.middleware(of_app)
    for place, name in ((app, "a"), (router, "r"), (inner, "i")):
        place.task(name)(lambda: None)
    of = app.surroundings().middleware_of
    assert (of("a"), of("r")) == ((of_app,), (of_app, of_router))
    assert of("i") == (of_app, of_router, of_inner)
    assert of("pgsched.http") == (of_app,)


def test_a_handler_with_middleware_keeps_all_else() -> None:
    registry = Registry(version="7")
    registry.register("mail", lambda ctx: None, {"queue": "letters"}, strict=True)
    equipped = with_middleware(registry, lambda _: (noting("one", []),))
    mail = equipped.get("mail")
    assert mail is not None
    assert (mail.options, mail.strict, mail.needs_context, equipped.version) == ({"queue": "letters"}, True, True, "7")


def test_middleware_must_be_async() -> None:
    def plain(ctx: Context, call_next: CallNext) -> None: ...

    with pytest.raises(RegistrationError, match=r"plain must be an async function: async def f\(ctx, call_next\)"):
        App().middleware(plain)  # type: ignore[type-var]
