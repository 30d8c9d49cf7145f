"""One attempt: whatever a handler does becomes exactly one outcome."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import Discard, Finished, Retry
from pgsched.execution.context import Context
from pgsched.execution.outcomes import MAX_ERROR_CHARACTERS
from tests.support.attempts import Function, attempt, run
from tests.support.engine import NOW, PATIENCE
from tests.support.waiting import wait_until_async


def returning(value: object) -> list[Function]:
    """An async and a plain handler that return ``value``."""

    async def on_loop() -> object:
        return value

    return [on_loop, lambda: value]


def raising(error: BaseException) -> list[Function]:
    """An async and a plain handler that raise ``error``."""

    async def on_loop() -> None:
        raise error

    def in_thread() -> None:
        raise error

    return [on_loop, in_thread]


# What a handler returns.


@pytest.mark.parametrize("function", returning({"sent": [1, "ä"]}))
def test_a_result_is_kept_as_json(function: Function) -> None:
    assert run(function)._replace(started=0, finished=0) == Outcome("completed", 0, 0, result='{"sent":[1,"ä"]}')


@pytest.mark.parametrize("function", returning(None))
def test_no_result_is_no_json(function: Function) -> None:
    assert run(function).result is None


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({2, 1}, [1, 2]),
        (float("nan"), "NaN"),
        ([float("-inf")], ["-Infinity"]),
        (NOW, NOW.isoformat()),
        ({"k": b"\xff"}, {"k": "_w=="}),
        ({NOW.date(): UUID(int=1)}, {NOW.date().isoformat(): str(UUID(int=1))}),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_a_result_that_json_does_not_have_is_stored_as_text_that_can_be_read_back(
    value: object, stored: object, kind: int
) -> None:
    outcome = run(returning(value)[kind])
    assert (outcome.status, json.loads(outcome.result or ""), outcome.warning) == ("completed", stored, None)


@pytest.mark.parametrize(
    ("value", "stored", "warning"),
    [
        ("a\x00b", "a\\x00b", "result is a str, stored as text"),
        ("\ud800", "\\ud800", "result is a str, stored as text"),
        ({"ok": 1, "of": [sys]}, {"ok": 1, "of": [repr(sys)]}, "result['of'][0] is a module, stored as text"),
        ({1: "a", "1": "b"}, repr({1: "a", "1": "b"}), "result must have keys that differ as text: stored as text"),
        (HOLDS_ITSELF, "[[...]]", "result must not be nested deeper than 100 levels (or hold itself): stored as text"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_a_result_that_cannot_be_stored_is_its_text_with_a_warning_and_completed(
    value: object, stored: object, warning: str, kind: int
) -> None:
    outcome = run(returning(value)[kind])
    assert (outcome.status, json.loads(outcome.result or ""), outcome.warning) == ("completed", stored, warning)


def test_a_result_that_is_too_long_is_cut_and_completed() -> None:
    outcome = run(returning("x" * 2**20)[0])
    assert (outcome.status, outcome.error) == ("completed", None)
    assert len(outcome.result or "") < 10_000
    assert "must not exceed 1 MiB" in str(outcome.warning)


def test_a_payload_fills_the_keyword_arguments() -> None:
    async def handler(to: str, *, subject: str = "hi") -> list[str]:
        return [to, subject]

    assert run(handler, {"to": "a"}).result == '["a","hi"]'


def test_a_payload_that_does_not_fit_is_dead_at_once() -> None:
    outcome = run(lambda to: to, {"too": 1})
    assert (outcome.status, outcome.error) == (
        "discarded",
        "payload does not fit handler 'mail': unexpected argument 'too'",
    )


def test_the_context_is_passed_beside_the_payload() -> None:
    async def handler(to: str, context: Context) -> list[Any]:
        return [to, context.id, context.attempt]

    assert run(handler, {"to": "a"}).result == '["a",1,1]'


async def _coroutine() -> None: ...


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


class _Awaitable:
    def __await__(self) -> Iterator[None]:
        yield


async def _returns_a_coroutine() -> Any:
    return _coroutine()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("handler", "what"),
    [
        (lambda: _coroutine(), "a coroutine"),
        (lambda: _generator(), "a generator"),
        (lambda: _async_generator(), "a generator"),
        (lambda: _Awaitable(), "a _Awaitable to be awaited"),
        (_returns_a_coroutine, "a coroutine"),
    ],
)
def test_a_handler_that_returns_what_was_to_run_fails(handler: Callable[..., Any], what: str) -> None:
    outcome = run(handler)
    gc.collect()
    assert (outcome.status, outcome.error) == (
        "failed",
        f"TypeError: the handler returned {what}, which nothing runs",
    )


# What a handler raises.


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no luck"),
        SystemExit("no luck"),
        KeyboardInterrupt("no luck"),
        asyncio.CancelledError("no luck"),
        TimeoutError("no luck"),
        GeneratorExit("no luck"),
        BaseExceptionGroup("no luck", [SystemExit(1)]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_whatever_a_handler_raises_is_a_failed_attempt(error: BaseException, kind: int, timeout: float | None) -> None:
    outcome = run(raising(error)[kind], timeout=timeout)
    assert outcome.status == "failed"
    assert "no luck" in str(outcome.error)
    assert type(error).__name__ in str(outcome.error)


@pytest.mark.parametrize("function", raising(StopIteration("no luck")))
def test_a_stop_iteration_does_not_look_like_a_return(function: Function) -> None:
    assert run(function).status == "failed"


@pytest.mark.parametrize("function", raising(Retry(7.5, "not yet")))
def test_a_retry_carries_its_delay(function: Function) -> None:
    outcome = run(function)
    assert (outcome.status, outcome.retry_delay, outcome.error) == ("failed", 7.5, "Retry: not yet")


@pytest.mark.parametrize("function", raising(Retry()))
def test_a_retry_without_a_delay_leaves_it_to_the_policy(function: Function) -> None:
    assert run(function).retry_delay is None


@pytest.mark.parametrize("function", raising(Discard("never")))
def test_a_discard_is_dead_at_once(function: Function) -> None:
    outcome = run(function)
    assert (outcome.status, outcome.error) == ("discarded", "Discard: never")


@pytest.mark.parametrize("function", raising(Finished({"imported": 3})))
def test_a_finished_is_completed_and_ends_the_schedule(function: Function) -> None:
    outcome = run(function)
    assert (outcome.status, outcome.ends, outcome.result) == ("completed", True, '{"imported":3}')
    assert outcome.error is None


@pytest.mark.parametrize("function", raising(Finished({1, 2})))
def test_a_finished_has_a_result_like_any_other(function: Function) -> None:
    outcome = run(function)
    assert (outcome.status, outcome.ends, outcome.result) == ("completed", True, "[1,2]")


@pytest.mark.parametrize(
    ("group", "status", "ends", "error"),
    [
        (ExceptionGroup("all", [Finished(1), ExceptionGroup("in", [Finished(1)])]), "completed", True, None),
        (ExceptionGroup("all", [ValueError("lost"), Finished(1)]), "completed", True, "lost"),
        (ExceptionGroup("all", [Finished(1), Retry(1, "again")]), "failed", False, "Retry: again"),
        (ExceptionGroup("all", [Finished(1), Discard("never")]), "discarded", False, "Discard: never"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_in_a_group_a_finished_counts_after_a_retry_and_before_other_errors(
    group: ExceptionGroup[Exception], status: str, ends: bool, error: str | None, kind: int
) -> None:
    outcome = run(raising(group)[kind])
    assert (outcome.status, outcome.ends) == (status, ends)
    assert outcome.error is None if error is None else error in str(outcome.error)


def test_a_finished_after_the_timeout_is_timed_out() -> None:
    async def handler() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            raise Finished

    assert run(handler, timeout=0.02).status == "timed_out"


@pytest.mark.parametrize(
    ("group", "status", "delay", "first_line"),
    [
        (ExceptionGroup("both", [Discard("never")]), "discarded", None, "Discard: never"),
        (ExceptionGroup("both", [ValueError(), Retry(9), Discard("never")]), "discarded", None, "Discard: never"),
        (BaseExceptionGroup("both", [SystemExit(), Discard("never")]), "discarded", None, "Discard: never"),
        (ExceptionGroup("a", [ExceptionGroup("b", [KeyError(), Discard("in")])]), "discarded", None, "Discard: in"),
        (ExceptionGroup("both", [Retry(7.5, "not yet")]), "failed", 7.5, "Retry: not yet"),
        (ExceptionGroup("both", [Retry(2), ValueError(), Retry(7.5, "not yet")]), "failed", 7.5, "Retry: not yet"),
        (ExceptionGroup("both", [Retry(None, "soon"), Retry(0, "now")]), "failed", 0, "Retry: now"),
        (BaseExceptionGroup("both", [KeyboardInterrupt(), Retry(1, "x")]), "failed", 1, "Retry: x"),
        (ExceptionGroup("both", [ValueError("no")]), "failed", None, "ExceptionGroup: both (1 sub-exception)"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_in_a_group_a_discard_counts_first_and_then_the_longest_retry(
    group: BaseException, status: str, delay: float | None, first_line: str, kind: int
) -> None:
    outcome = run(raising(group)[kind])
    error = str(outcome.error)
    assert (outcome.status, outcome.retry_delay, error.split("\n")[0]) == (status, delay, first_line)
    assert "Exception Group Traceback" in error


def test_a_discard_in_a_task_group_is_a_discard() -> None:
    async def fails() -> None:
        raise Discard("never")

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(PATIENCE)

    assert run(handler, timeout=PATIENCE).status == "discarded"


class Unprintable:
    """An object of which nothing can be had."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def __str__(self) -> str:
        if self._error is None:
            return 7  # type: ignore[return-value]
        raise self._error

    __repr__ = __str__


class HostileError(Exception):
    """Whoever looks at it is interrupted."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class SilentRetry(Retry):
    """Forgets what a Retry has."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("reason", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(), GeneratorExit(), None])
@pytest.mark.parametrize(
    ("make", "status"), [(Discard, "discarded"), (lambda text: Retry(1, text), "failed"), (ValueError, "failed")]
)
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_an_error_that_cannot_be_printed_is_what_it_is(
    make: Callable[[Any], Exception], status: str, reason: BaseException | None, kind: int
) -> None:
    error = make(Unprintable(reason))
    outcome = run(raising(error)[kind])
    assert outcome.status == status
    assert str(outcome.error).startswith(type(error).__name__)


@pytest.mark.parametrize("make", [HostileError, SilentRetry])
@pytest.mark.parametrize("kind", [0, 1], ids=["async", "plain"])
def test_an_error_of_which_nothing_can_be_had_is_a_failed_attempt(make: Callable[[], Exception], kind: int) -> None:
    outcome = run(raising(make())[kind])
    assert (outcome.status, outcome.retry_delay) == ("failed", None)
    assert outcome.error


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 367 * 86400])
def test_a_retry_with_a_senseless_delay_is_refused_where_it_is_made(delay: float) -> None:
    with pytest.raises(ValueError, match="delay must be between"):
        Retry(delay)


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800 pair"])
@pytest.mark.parametrize("make", [ValueError, lambda text: Retry(1, text), Discard])
def test_an_error_text_is_made_fit_for_postgresql(make: Function, text: str) -> None:
    error = run(raising(make(text))[0]).error
    assert error is not None
    assert "\x00" not in error
    error.encode()


def test_an_endless_error_text_is_cut_in_its_middle() -> None:
    error = str(run(raising(ValueError("a" * 100_000))[0]).error)
    assert len(error) <= MAX_ERROR_CHARACTERS
    assert error.startswith("ValueError: aaa")
    assert error.endswith("aaa")


def test_a_traceback_begins_at_the_handler() -> None:
    def deeper() -> None:
        raise ValueError("no luck")

    async def handler() -> None:
        deeper()

    error = str(run(handler).error)
    assert error.startswith("ValueError: no luck\n")
    assert "in handler" in error
    assert "in deeper" in error
    assert "pgsched/execution/runner.py" not in error


def test_an_error_that_cannot_be_printed_is_a_failed_attempt() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    assert run(raising(Unprintable())[0]).status == "failed"


# Timeouts.


def test_an_async_handler_that_overstays_is_timed_out() -> None:
    async def handler() -> None:
        await asyncio.Event().wait()

    outcome = run(handler, timeout=0.01)
    assert (outcome.status, outcome.error) == ("timed_out", "timed out after 0.01 s")


@pytest.mark.parametrize("more_steps", [0, 3])
def test_a_handler_that_swallows_the_cancellation_of_its_timeout_is_timed_out_all_the_same(more_steps: int) -> None:
    async def handler() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for _ in range(more_steps):
            await asyncio.sleep(0.001)
        return "all the same"

    outcome = run(handler, timeout=0.01)
    assert (outcome.status, outcome.result, outcome.error) == ("timed_out", None, "timed out after 0.01 s")


def test_a_handler_that_fails_while_it_is_timed_out_is_timed_out_or_failed_but_reported() -> None:
    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the clean-up")

    outcome = run(handler, timeout=0.01)
    assert outcome.status == "failed"
    assert "in the clean-up" in str(outcome.error)


def test_a_timeout_error_of_the_handler_itself_is_no_timeout_of_the_task() -> None:
    async def handler() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    assert run(handler, timeout=PATIENCE).status == "failed"


def test_a_plain_function_that_overstays_is_reported_and_told_before_it_ends() -> None:
    seen = threading.Event()

    def handler(context: Context) -> None:
        while not context.cancelled:
            seen.wait(0.001)
        seen.set()

    assert run(handler, timeout=0.01).status == "timed_out"
    assert seen.is_set()


# Cancellation from outside: the lease was lost, or the worker stops.


async def cancelled_attempt(function: Function, started: Callable[[], bool]) -> tuple[Outcome, int]:
    task = asyncio.create_task(attempt(function))
    await wait_until_async(started, message="the handler runs")
    task.cancel()
    outcome = await task
    return outcome, task.cancelling()


def test_a_cancelled_handler_cleans_up_and_is_released() -> None:
    began, cleaned = threading.Event(), threading.Event()

    async def handler() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    outcome, cancelling = asyncio.run(cancelled_attempt(handler, began.is_set))
    assert (outcome.status, cleaned.is_set(), cancelling) == ("released", True, 0)


def test_a_cancelled_handler_that_ends_well_all_the_same_has_completed() -> None:
    began = threading.Event()

    async def handler() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    outcome, _ = asyncio.run(cancelled_attempt(handler, began.is_set))
    assert outcome.status == "completed"


def test_a_cancelled_plain_function_is_told_and_released() -> None:
    began, told = threading.Event(), threading.Event()

    def handler(context: Context) -> None:
        began.set()
        while not context.cancelled:
            told.wait(0.001)
        told.set()

    outcome, _ = asyncio.run(cancelled_attempt(handler, began.is_set))
    assert outcome.status == "released"
    assert told.is_set()
