"""Handlers whose results and errors cannot be stored or shown, and those that do not end as they should."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from chaos.poison.kind import COMPLETED, DEAD, WAITS, Kind
from pgsched.domain.errors import Discard, Retry
from pgsched.execution.context import Context

BIG = 1_000_000


class Unprintable(Exception):
    """Neither str nor repr of it can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class NoText(Exception):
    """Its text is no text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class Furious(Exception):
    """Whoever asks for its text is interrupted."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class Hostile:
    """An object of which nothing can be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    return deep


def _numbers() -> Iterator[int]:
    yield 1


async def _never_awaited() -> None:
    """A coroutine."""


def _in_circles() -> Exception:
    one, two = ValueError("in circles"), ValueError("in circles too")
    one.__cause__, two.__cause__ = two, one
    return one


def _nested() -> Exception:
    group: Exception = ValueError("deep inside")
    for _ in range(500):
        group = ExceptionGroup("a group", [group])
    return group


def _raiser(make: Callable[[], BaseException]) -> Callable[..., Any]:
    async def raises() -> None:
        await asyncio.sleep(0.001)
        raise make()

    return raises


def _plain_raiser(make: Callable[[], BaseException]) -> Callable[..., Any]:
    def raises() -> None:
        raise make()

    return raises


def _returner(make: Callable[[], Any]) -> Callable[..., Any]:
    async def returns() -> Any:
        await asyncio.sleep(0.001)
        return make()

    return returns


def _retry(delay: float) -> Retry:
    retry = Retry()
    retry.delay = delay
    return retry


ERRORS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "unprintable": (Unprintable, "Unprintable"),
    "no-text": (NoText, "NoText"),
    "furious": (Furious, "Furious"),
    "nul": (lambda: ValueError("before\0after"), "before"),
    "surrogate": (lambda: ValueError("before\udc80after"), "before"),
    "ten-megabytes": (lambda: ValueError("long " * 2_000_000), "long"),
    "in-circles": (_in_circles, "in circles"),
    "nested-groups": (_nested, "a group"),
    "system-exit": (lambda: SystemExit(3), "SystemExit"),
    "keyboard-interrupt": (KeyboardInterrupt, "KeyboardInterrupt"),
    "generator-exit": (GeneratorExit, "GeneratorExit"),
    "cancelled": (asyncio.CancelledError, "Cancelled"),
    "stop-iteration": (lambda: StopIteration(1), "StopIteration"),
    "stop-async-iteration": (lambda: StopAsyncIteration(1), "StopAsyncIteration"),
    "group-of-exits": (lambda: BaseExceptionGroup("exits", [SystemExit(1), KeyboardInterrupt()]), "exits"),
    "discard-in-group": (lambda: ExceptionGroup("a group", [Discard("discarded inside")]), "discarded inside"),
    "odd-class": (lambda: type("Odd\0\ud800", (Exception,), {})("odd one"), "odd one"),
    "discard-unprintable": (lambda: Discard(Hostile()), ""),  # type: ignore[arg-type]
}
RESULTS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "nul": (lambda: "\0", (COMPLETED,)),
    "surrogate": (lambda: {"a": ["\udfff"]}, (COMPLETED,)),
    "nan": (lambda: [math.nan, math.inf], (COMPLETED,)),
    "same-keys": (lambda: {1: "a", "1": "b"}, (COMPLETED,)),
    "object": (Hostile, (COMPLETED,)),
    "circle": (_circle, (COMPLETED,)),
    "depth": (_deep, (COMPLETED,)),
    "digits": (lambda: 10**6000, (COMPLETED,)),
    "generator": (_numbers, (DEAD,)),
    "coroutine": (_never_awaited, (DEAD,)),
    "twelve-megabytes": (lambda: "x" * 12 * BIG, (COMPLETED,)),
}
DELAYS = {
    "nan": math.nan,
    "infinity": math.inf,
    "1e300": 1e300,
    "negative": -1e300,
    "text": "soon",
    "object": Hostile(),
}


async def _big_result() -> str:
    await asyncio.sleep(0.02)
    return "x" * BIG


async def _swallows() -> str:
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
    return "late"


def _blocks_thread() -> str:
    time.sleep(1.0)
    return "late"


async def _blocks_loop() -> str:
    time.sleep(0.4)  # noqa: ASYNC251
    return "late"


async def _spoils_payload(ctx: Context, **given: Any) -> None:
    given["list"].append("more")
    given.clear()
    task: Any = ctx
    task._task.payload["list"].clear()  # what belongs to the worker
    raise ValueError("spoiled")


async def _keeps_connection(ctx: Context) -> None:
    await ctx.connection.execute("select pg_terminate_backend(pg_backend_pid())")


async def _breaks_transaction(ctx: Context) -> None:
    await ctx.connection.execute("rollback")
    await ctx.connection.execute("set search_path = nowhere; set role none")


_ONCE = {"max_attempts": "1"}
_SHORT = {"max_attempts": "1", "timeout": "interval '200 ms'"}
_NAMED = ("dead_letters", "{name}")

KINDS = (
    *(
        Kind(
            name=f"error-{name}",
            does=f"an `async` handler raises: {name.replace('-', ' ')}",
            handler=_raiser(make),
            columns=_ONCE,
            words=words,
            doctor=_NAMED,
        )
        for name, (make, words) in ERRORS.items()
    ),
    *(
        Kind(
            name=f"plain-error-{name}",
            does=f"a plain handler raises: {name.replace('-', ' ')}",
            handler=_plain_raiser(make),
            columns=_ONCE,
            words=words,
            doctor=_NAMED,
        )
        for name, (make, words) in ERRORS.items()
    ),
    *(
        Kind(
            name=f"result-{name}",
            does=f"a result that JSON or PostgreSQL cannot hold: {name.replace('-', ' ')}",
            handler=_returner(make),
            columns=_ONCE,
            fates=fates,
            doctor=_NAMED if fates == (DEAD,) else None,
        )
        for name, (make, fates) in RESULTS.items()
    ),
    *(
        Kind(
            name=f"retry-{name}",
            does=f"a handler asks for a retry after an absurd delay: {name}",
            handler=_raiser(lambda delay=delay: _retry(delay)),  # type: ignore[misc]
            columns={"max_attempts": "2"},
            fates=(DEAD, WAITS),
        )
        for name, delay in DELAYS.items()
    ),
    Kind(
        name="big-results",
        does="results of a megabyte each, many at once",
        handler=_big_result,
        fates=(COMPLETED,),
        rows=24,
    ),
    Kind(
        name="swallowed-cancellation",
        does="an `async` handler swallows its cancellation at the timeout",
        handler=_swallows,
        columns=_SHORT,
        words="",
        fates=(DEAD,),
        doctor=_NAMED,
    ),
    Kind(
        name="blocked-thread",
        does="a plain handler continues for five times its timeout",
        handler=_blocks_thread,
        columns=_SHORT,
        words="",
        doctor=_NAMED,
    ),
    Kind(
        name="blocked-loop",
        does="an `async` handler blocks the event loop past its timeout",
        handler=_blocks_loop,
        columns=_SHORT,
        words="",
        fates=(DEAD, COMPLETED),
    ),
    Kind(
        name="spoiled-payload",
        does="a handler empties the payload that it was given, and fails",
        handler=_spoils_payload,
        payload='{"list": ["one"]}',
        columns={"max_attempts": "2", "backoff": "'fixed'", "backoff_delay": "interval '10 ms'"},
        words="spoiled",
        doctor=_NAMED,
    ),
    Kind(
        name="ended-connection",
        does="a transactional handler ends the session of its transaction",
        handler=_keeps_connection,
        options={"transactional": True},
        columns=_ONCE,
        words="",
        doctor=_NAMED,
    ),
    Kind(
        name="broken-transaction",
        does="a transactional handler rolls back itself and changes the session's settings",
        handler=_breaks_transaction,
        options={"transactional": True},
        columns=_ONCE,
        fates=(DEAD, COMPLETED),
    ),
)
