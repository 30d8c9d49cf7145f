"""Runs one attempt and says how it went. Knows no database.

Whatever a handler does (return, raise anything, overstay its timeout, return what JSON cannot hold) becomes an
Outcome; nothing it raises gets past this module.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import nullcontext
from functools import partial
from time import monotonic
from typing import Any

from pgsched.context import Context
from pgsched.errors import Discard, InvalidTask, PayloadMismatch, Retry
from pgsched.jsontext import encode_json
from pgsched.model import Outcome
from pgsched.registry import Handler
from pgsched.storable import storable
from pgsched.threads import Threads

MAX_ERROR_CHARACTERS = 16_384
"""Characters kept of an error and its traceback."""

Report = Callable[[Outcome], None]


def _nothing() -> None:
    return None


async def run_attempt(
    handler: Handler,
    payload: dict[str, Any],
    context: Context | None,
    *,
    timeout: float | None,
    threads: Threads[Outcome],
    report: Report,
    on_wait: Callable[[], None] = _nothing,
) -> None:
    """Run one attempt and report its outcome, once; returns when its slot is free again.

    ``on_wait`` is called when the attempt waits for the first time, so that somebody else may use the event loop.
    ``timeout`` is in seconds. A plain function that overstays it is reported as timed out at once, but holds its slot
    until it returns, because a thread cannot be stopped. A cancellation of the calling task cancels an async handler
    and is reported as ``released`` (the caller decides what that means), unless the handler ended all the same.
    """
    started = monotonic()
    try:
        handler.check(payload)
    except PayloadMismatch as error:
        report(Outcome("discarded", started, monotonic(), error=str(error)))
        return
    arguments = payload
    if handler.context_parameter is not None:
        arguments = {**payload, handler.context_parameter: context}
    if handler.is_async:
        report(await _run_coroutine(handler, arguments, started, timeout, on_wait))
    else:
        await _run_in_thread(handler, arguments, context, started, timeout, threads, report, on_wait)


async def _run_coroutine(
    handler: Handler, arguments: dict[str, Any], started: float, timeout: float | None, on_wait: Callable[[], None]
) -> Outcome:
    variables = contextvars.copy_context()
    limit: asyncio.Timeout | None = None
    try:
        coroutine = handler.function(**arguments)
        if timeout is None:
            value = await _in_context(coroutine, variables, on_wait)
        else:
            async with asyncio.timeout(timeout) as limit:
                try:
                    value = await _in_context(coroutine, variables, on_wait)
                except TimeoutError as error:
                    # The handler's own, unless the limit is what struck: then __aexit__ makes one of its own.
                    if not limit.expired():
                        return _failed(error, started)
                    raise
    except asyncio.CancelledError as error:
        if limit is not None and limit.expired():
            # A task group of the handler left a cancellation behind (CPython before 3.13), which hid the limit's own.
            return _timed_out(timeout, started)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            while task.uncancel():
                pass
            return Outcome("released", started, monotonic())
        return _failed(error, started)
    except TimeoutError as error:
        if limit is None:  # the handler's own
            return _failed(error, started)
        return _timed_out(timeout, started)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the worker
        return _failed(error, started)
    return _completed(value, started)


@types.coroutine
def _in_context(
    coroutine: Coroutine[Any, Any, Any], variables: contextvars.Context, on_wait: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Drive a coroutine with every step in ``variables``.

    What a handler sets in context variables is gone with it, as if it had an asyncio task of its own, without the
    cost of making one.
    """
    run = variables.run
    try:
        awaited = run(coroutine.send, None)
        on_wait()
        while True:
            try:
                value = yield awaited
            except BaseException as error:  # noqa: BLE001 - cancellation included: it belongs to the handler
                awaited = run(coroutine.throw, error)
            else:
                awaited = run(coroutine.send, value)
    except StopIteration as stop:
        return stop.value


async def _run_in_thread(
    handler: Handler,
    arguments: dict[str, Any],
    context: Context | None,
    started: float,
    timeout: float | None,
    threads: Threads[Outcome],
    report: Report,
    on_wait: Callable[[], None],
) -> None:
    def call() -> Outcome:
        try:
            value = handler.function(**arguments)
            if asyncio.iscoroutine(value):
                value.close()
                raise TypeError(f"handler {handler.task_type!r} is a plain function that returned a coroutine")
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the worker
            return _failed(error, started)
        return _completed(value, started)

    ticket = threads.submit(partial(contextvars.copy_context().run, call))
    on_wait()
    try:
        async with asyncio.timeout(timeout) if timeout is not None else nullcontext():
            report(await ticket.future)
        return
    except TimeoutError:
        outcome = _timed_out(timeout, started)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        while task is not None and task.uncancel():
            pass
        outcome = Outcome("released", started, monotonic())
    if context is not None:
        context.cancelled = True
    report(outcome)
    await ticket.ended()


def _completed(value: object, started: float) -> Outcome:
    if value is None:
        return Outcome("completed", started, monotonic())
    try:
        result = encode_json(value, "result")
    except InvalidTask as error:
        # The work is done: doing it again would return the same and might bill somebody twice.
        return Outcome("discarded", started, monotonic(), error=f"{error} (the handler itself had ended well)")
    return Outcome("completed", started, monotonic(), result=result)


def _timed_out(timeout: float | None, started: float) -> Outcome:
    return Outcome("timed_out", started, monotonic(), error=f"timed out after {timeout:g} s")


def _failed(error: BaseException, started: float) -> Outcome:
    if isinstance(error, Retry):
        reason = storable(f"Retry: {error}", MAX_ERROR_CHARACTERS)
        return Outcome("failed", started, monotonic(), error=reason, retry_delay=error.delay)
    if isinstance(error, Discard):
        return Outcome("discarded", started, monotonic(), error=storable(f"Discard: {error}", MAX_ERROR_CHARACTERS))
    return Outcome("failed", started, monotonic(), error=describe(error))


def describe(error: BaseException) -> str:
    """Return the error in one line, then its traceback from the handler's own frame on, fit to be stored."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") == __name__:
        trace = trace.tb_next
    summary = "".join(traceback.format_exception_only(error)).strip()
    lines = "".join(traceback.format_exception(type(error), error, trace)) if trace else ""
    return storable(f"{summary}\n\n{lines}".strip(), MAX_ERROR_CHARACTERS)
