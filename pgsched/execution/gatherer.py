"""Gathers attempts of one type and calls its batch handler once for all of them.

Each task stays an attempt of its own, in a slot of its own: it is leased, timed, cancelled, retried and written like
any other. Only the call of its handler is replaced: the attempt waits for its share of a shared call.

    gathering --size or wait--> running --returned or raised--> ended

An attempt that leaves (by its timeout, a cancel or a lost lease) while its call is gathering takes no part in it; when
one leaves later, the call continues for the others, and is cancelled when nobody is left.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from pgsched.concurrency import fork_guard
from pgsched.concurrency.thread_pool import Threads, Ticket
from pgsched.domain.attempt import Outcome
from pgsched.execution.batches import BatchRule, Item
from pgsched.execution.callables import unrun
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.middleware import through
from pgsched.execution.registry import Registry
from pgsched.execution.runner import caught, go_on, run_on_loop
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

Report = Callable[[Outcome], None]


class _Answer(NamedTuple):
    """The result for one attempt."""

    value: Any = None
    error: BaseException | None = None
    trace: TracebackType | None = None
    """Where the call raised it: one exception may fail many tasks, and each must have only this traceback."""


class _Seat:
    """One attempt in a call."""

    __slots__ = ("answer", "call", "context", "given", "left")

    def __init__(self, given: Any, context: Context | None, answer: asyncio.Future[_Answer]) -> None:
        self.given = given
        """What the handler receives for it."""
        self.context = context
        self.answer = answer
        self.call: _Call | None = None
        self.left = False


class _Call:
    """One call in progress."""

    __slots__ = ("seated", "task")

    def __init__(self, task: asyncio.Task[None], seated: int) -> None:
        self.task = task
        self.seated = seated
        """Attempts that still wait for it."""


class Gatherer:
    """The calls of one batch handler in one worker."""

    def __init__(self, handler: Handler, rule: BatchRule, *, concurrency: int) -> None:
        """``concurrency``: attempts that run at once, which bounds how many can be gathered."""
        self._handler = handler
        self._rule = rule
        self._full = min(rule.size, concurrency)
        self._gathering: list[_Seat] = []
        self._timer: asyncio.Handle | None = None
        self._single = replace(handler, function=self._join)
        # In no attempt's context: what a call logs belongs to none of its tasks.
        self._surroundings = contextvars.copy_context()

    async def run(
        self,
        payload: Any,
        context: Context | None,
        *,
        started: float,
        timeout: float | None,
        threads: Threads[Any],
        report: Report,
    ) -> None:
        """Run one attempt and report its outcome; it ends when its slot is free."""
        given = payload
        if self._rule.gives_items:
            assert context is not None  # such a handler needs one  # noqa: S101
            given = Item(payload, context)
        seat = _Seat(given, context, asyncio.get_running_loop().create_future())
        if self._handler.middleware:

            async def call(_given: Context) -> Any:
                return await self._join(seat, threads)

            within = replace(self._single, function=through(self._handler.middleware, call))
            await run_on_loop(within, {"context": context}, started, timeout, report)
        else:
            await run_on_loop(self._single, {"seat": seat, "threads": threads}, started, timeout, report)
        if seat.left and seat.call is not None:  # the call continues, or cleans up
            with suppress(asyncio.CancelledError):
                await asyncio.shield(seat.call.task)

    async def _join(self, seat: _Seat, threads: Threads[Any]) -> Any:
        self._gathering.append(seat)
        if len(self._gathering) >= self._full:
            self._begin(threads)
        elif len(self._gathering) == 1:
            # With a wait of zero: includes what the worker starts in the same turn of the event loop.
            self._timer = asyncio.get_running_loop().call_later(self._rule.wait, self._begin, threads)
        try:
            value, error, trace = await seat.answer
        except asyncio.CancelledError:
            self._leave(seat)
            raise
        if error is None:
            return value
        if self._rule.on_raised is not None:
            self._rule.on_raised(error)
        raise error.with_traceback(trace)

    def _leave(self, seat: _Seat) -> None:
        seat.left = True
        if seat.context is not None:
            seat.context.cancelled = True
        if seat in self._gathering:
            self._gathering.remove(seat)
            if not self._gathering:
                self._stop_timer()
        elif seat.call is not None:
            seat.call.seated -= 1
            if not seat.call.seated:
                seat.call.task.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self, threads: Threads[Any]) -> None:
        self._stop_timer()
        seats, self._gathering = self._gathering, []
        task = asyncio.get_running_loop().create_task(
            self._call(seats, threads), name="pgsched batch", context=self._surroundings.copy()
        )
        call = _Call(task, len(seats))
        for seat in seats:
            seat.call = call

    async def _call(self, seats: Sequence[_Seat], threads: Threads[Any]) -> None:
        """Make one call and answer its attempts; none when all have left."""
        function, arguments = self._handler.function, {self._rule.parameter: [seat.given for seat in seats]}
        generation = fork_guard.generation
        value: Any = None
        error: BaseException | None = None
        ticket: Ticket[Any] | None = None
        try:
            if self._handler.is_async:
                coroutine = function(**arguments)
                try:
                    value = await go_on(coroutine.send(None), coroutine, generation)
                except StopIteration as stop:  # it never awaited anything
                    value = stop.value
            else:
                ticket = threads.submit(partial(contextvars.copy_context().run, caught, function, arguments))
                value, error = await ticket.future
        except BaseException as raised:  # noqa: BLE001 - SystemExit of a handler must not end the worker
            error = raised
        if fork_guard.generation != generation:
            fork_guard.end_copy(error)
        if ticket is not None and not ticket.returned:
            await ticket.ended()
        for seat, answer in zip(seats, self._answers(seats, value, error), strict=True):
            if not seat.answer.done():
                seat.answer.set_result(answer)

    def _answers(self, seats: Sequence[_Seat], value: Any, error: BaseException | None) -> list[_Answer]:
        if error is None and value is not None and not (isinstance(value, list | tuple) and len(value) == len(seats)):
            error = TypeError(
                f"batch handler {self._handler.task_type!r} must return None or a list with one outcome for each "
                f"of its {len(seats)} payloads, got {_described(value)}"
            )
        if error is not None:
            return [_Answer(error=error, trace=error.__traceback__)] * len(seats)
        return [
            _answer(seat, one) for seat, one in zip(seats, [None] * len(seats) if value is None else value, strict=True)
        ]


def _answer(seat: _Seat, value: Any) -> _Answer:
    """Return the result for one task of a call that returned; the item's own result takes precedence."""
    failure = seat.given.failure if isinstance(seat.given, Item) else None
    if failure is None and isinstance(value, BaseException):
        failure = value
    return _Answer(value) if failure is None else _Answer(error=failure, trace=failure.__traceback__)


def _described(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{len(value)}"
    return unrun(value) or f"a {type(value).__name__}"


def with_gatherers(registry: Registry, concurrency: int) -> Registry:
    """Return the registry with a gatherer for each batch handler; the same registry when there is none."""
    if not any(handler.batch for handler in registry):
        return registry
    equipped = Registry(version=registry.version)
    for handler in registry:
        if handler.batch is not None and handler.batch.size > concurrency:
            hint = "each task of a call has a slot: raise --concurrency"
            size = handler.batch.size
            log.warning("batch_bounded", task_type=handler.task_type, batch=size, concurrency=concurrency, hint=hint)
        equipped.add(gathering(handler, concurrency))
    return equipped


def gathering(handler: Handler, concurrency: int) -> Handler:
    """Return a handler with its gatherer; the same handler unless it takes batches."""
    if handler.batch is None:
        return handler
    return replace(handler, gatherer=Gatherer(handler, handler.batch, concurrency=concurrency))
