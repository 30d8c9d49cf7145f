"""Runs one attempt and reports its outcome, without a database.

Whatever a handler does (return, raise, time out, return what JSON cannot represent) becomes an Outcome; none of its
exceptions leaves this module.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

from pgsched.concurrency import fork_guard
from pgsched.concurrency.thread_pool import Threads, Ticket
from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import HandlerFailed, PayloadMismatch
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.middleware import through, value_of
from pgsched.execution.outcomes import completed, raised, timed_out
from pgsched.execution.process_pool import ChildFailed, Processes

Report = Callable[[Outcome], None]


def run_attempt(
    handler: Handler,
    payload: dict[str, Any],
    context: Context | None,
    *,
    timeout: float | None,
    threads: Threads[Outcome],
    report: Report,
    processes: Processes | None = None,
    started: float | None = None,
) -> Coroutine[Any, Any, None]:
    """Return a coroutine that runs one attempt and reports its outcome once; it ends when its slot is free.

    An async handler runs in the asyncio task that awaits it, which should exist for this attempt only.
    ``started`` is when the attempt began, by the monotonic clock; None: now.
    ``timeout`` is in seconds. A plain function that exceeds it is reported as timed out at once, but occupies its slot
    until it returns, because a thread cannot be stopped; a child process is ended. Cancelling the asyncio task
    cancels an async handler, ends a child process, and is reported as ``released`` (the caller decides what that
    means), unless the handler finished anyway.
    """
    # Not a coroutine itself: every task would pay for that.
    if started is None:
        started = monotonic()
    try:
        handler.check(payload)
        arguments = payload if handler.types is None else handler.types.arguments(payload)
    except PayloadMismatch as error:
        return _end(Outcome("discarded", started, monotonic(), error=str(error), misfit=True), report)
    except BaseException as error:  # noqa: BLE001 - a validator of the user's may raise anything
        return _end(raised(error, started), report)
    if handler.context_parameter is not None:
        arguments = {**arguments, handler.context_parameter: context}
    if handler.on_loop:
        return run_on_loop(handler, arguments, started, timeout, report)
    if handler.gatherer is not None:
        return handler.gatherer.run(
            arguments, context, started=started, timeout=timeout, threads=threads, report=report
        )
    if handler.middleware:
        given = payload if handler.executor == "process" else arguments  # a child decodes its own payload
        return _run_within(handler, given, context, started, timeout, threads, processes, report)
    if handler.executor == "process":
        return _run_in_process(payload, context, timeout, processes, report)
    return _run_in_thread(handler, arguments, context, started, timeout, threads, report)


async def _end(outcome: Outcome, report: Report) -> None:
    report(outcome)


async def run_on_loop(
    handler: Handler, arguments: dict[str, Any], started: float, timeout: float | None, report: Report
) -> None:
    """Run an attempt by a coroutine function in the asyncio task that awaits this, and report its outcome."""
    generation = fork_guard.generation
    limit: asyncio.Timeout | None = None
    try:
        coroutine = handler.function(**arguments)
        if timeout is None:
            try:
                awaited = coroutine.send(None)
            except StopIteration as stop:  # it never awaited anything, like most quick handlers
                outcome = completed(stop.value, started, handler.types)
            else:
                outcome = completed(await go_on(awaited, coroutine, generation), started, handler.types)
        else:
            async with asyncio.timeout(timeout) as limit:
                try:
                    value = await go_on(coroutine.send(None), coroutine, generation)
                    outcome = completed(value, started, handler.types)
                except StopIteration as stop:
                    outcome = completed(stop.value, started, handler.types)
                except TimeoutError as error:
                    # It is the handler's own, unless the timeout expired: then __aexit__ raises another one.
                    if limit.expired():
                        raise
                    outcome = raised(error, started, handler.failure_rules, handler.types)
            if limit.expired():  # the timeout cancelled it, and it swallowed the cancellation
                outcome = timed_out(timeout, started)
    except asyncio.CancelledError as error:
        outcome = _cancelled(error, handler, limit, timeout, started)
    except TimeoutError as error:
        outcome = (
            raised(error, started, handler.failure_rules, handler.types)
            if limit is None
            else timed_out(timeout, started)
        )
    except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the worker
        if fork_guard.generation != generation:
            fork_guard.end_copy(error)
        outcome = raised(error, started, handler.failure_rules, handler.types)
        if outcome.ends and limit is not None and limit.expired():  # as if it had swallowed that and returned
            outcome = timed_out(timeout, started)
    if fork_guard.generation != generation:
        fork_guard.end_copy()
    report(outcome)


def _cancelled(
    error: asyncio.CancelledError,
    handler: Handler,
    limit: asyncio.Timeout | None,
    timeout: float | None,
    started: float,
) -> Outcome:
    if limit is not None and limit.expired():
        # A task group of the handler left a cancellation behind (CPython before 3.13), which hid the timeout's.
        return timed_out(timeout, started)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return _released(started)
    return raised(error, started, handler.failure_rules, handler.types)


def _released(started: float) -> Outcome:
    """The worker cancelled the attempt; the cancellation ends here."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
    return Outcome("released", started, monotonic())


@types.coroutine
def go_on(awaited: Any, coroutine: Coroutine[Any, Any, Any], generation: int) -> Generator[Any, Any, Any]:
    """Drive a coroutine from its first await on, but end this process if it is a forked copy of the worker."""
    try:
        while True:
            if fork_guard.generation != generation:
                fork_guard.end_copy()
            try:
                value = yield awaited
            except BaseException as error:  # noqa: BLE001 - cancellation included: it belongs to the handler
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
    except StopIteration as stop:
        return stop.value


async def _run_within(
    handler: Handler,
    payload: dict[str, Any],
    context: Context | None,
    started: float,
    timeout: float | None,
    threads: Threads[Any],
    processes: Processes | None,
    report: Report,
) -> None:
    """Run an attempt within its middleware, which is on the event loop wherever the handler runs."""
    assert context is not None  # middleware needs one  # noqa: S101
    if handler.executor == "process":
        assert processes is not None  # checked when the worker starts  # noqa: S101
        await _run_around_child(handler, payload, context, timeout, processes, report)
        return
    tickets: list[Ticket[Any]] = []

    async def call(given: Context) -> Any:
        arguments = payload if handler.context_parameter is None else {**payload, handler.context_parameter: given}
        if handler.is_async:
            return await handler.function(**arguments)
        ticket = threads.submit(partial(contextvars.copy_context().run, caught, handler.function, arguments))
        tickets.append(ticket)
        try:
            value, error = await ticket.future
        except asyncio.CancelledError:
            context.cancelled = True
            raise
        if error is not None:
            raise error
        return value

    whole = replace(handler, function=through(handler.middleware, call))
    await run_on_loop(whole, {"context": context}, started, timeout, report)
    for ticket in tickets:
        await ticket.ended()


async def _run_around_child(
    handler: Handler,
    payload: dict[str, Any],
    context: Context,
    timeout: float | None,
    processes: Processes,
    report: Report,
) -> None:
    started = monotonic()
    try:
        async with processes.child() as child:
            started = monotonic()  # starting a child does not count as the handler's time
            if timeout is not None:
                context.deadline_monotonic = started + timeout

            async def call(_given: Context) -> Any:
                try:
                    return value_of(await child.run(payload, context))
                except ChildFailed as error:
                    raise HandlerFailed(Outcome("failed", started, monotonic(), error=str(error))) from None
                except asyncio.CancelledError:
                    context.cancelled = True
                    raise

            whole = replace(handler, function=through(handler.middleware, call))
            await run_on_loop(whole, {"context": context}, started, timeout, report)
    except ChildFailed as error:
        report(Outcome("failed", started, monotonic(), error=str(error)))
    except asyncio.CancelledError:  # no child was ready yet
        context.cancelled = True
        report(_released(started))


def caught(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """Return what a plain function returns and None, or None and what it raises."""
    generation = fork_guard.generation
    try:
        value = function(**arguments)
    except BaseException as error:  # noqa: BLE001 - middleware gets it
        if fork_guard.generation != generation:
            fork_guard.end_copy(error)
        return None, error
    if fork_guard.generation != generation:
        fork_guard.end_copy()
    return value, None


async def _run_in_thread(
    handler: Handler,
    arguments: dict[str, Any],
    context: Context | None,
    started: float,
    timeout: float | None,
    threads: Threads[Outcome],
    report: Report,
) -> None:
    def call() -> Outcome:
        generation = fork_guard.generation
        try:
            value = handler.function(**arguments)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the worker
            if fork_guard.generation != generation:
                fork_guard.end_copy(error)
            return raised(error, started, handler.failure_rules, handler.types)
        if fork_guard.generation != generation:
            fork_guard.end_copy()
        return completed(value, started, handler.types)

    ticket = threads.submit(partial(contextvars.copy_context().run, call))
    try:
        async with asyncio.timeout(timeout) if timeout is not None else nullcontext():
            report(await ticket.future)
        return
    except TimeoutError:
        outcome = timed_out(timeout, started)
    except asyncio.CancelledError:
        outcome = _released(started)
    if context is not None:
        context.cancelled = True
    report(outcome)
    await ticket.ended()


async def _run_in_process(
    payload: dict[str, Any], context: Context | None, timeout: float | None, processes: Processes | None, report: Report
) -> None:
    assert context is not None  # it receives the child's reports  # noqa: S101
    assert processes is not None  # checked when the worker starts  # noqa: S101
    started = monotonic()
    try:
        async with processes.child() as child:
            started = monotonic()  # starting a child does not count as the handler's time
            if timeout is not None:
                context.deadline_monotonic = started + timeout
            async with asyncio.timeout(timeout) if timeout is not None else nullcontext():
                outcome = await child.run(payload, context)
    except ChildFailed as error:
        outcome = Outcome("failed", started, monotonic(), error=str(error))
    except TimeoutError:
        context.cancelled = True
        outcome = timed_out(timeout, started)
    except asyncio.CancelledError:
        context.cancelled = True
        outcome = _released(started)
    report(outcome)
