"""Threads for plain functions: calls are handed out one by one, results return to the event loop in batches.

An executor of the standard library wakes the loop for every call; here the first result wakes it, and all results that
are ready by then are delivered with it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class _Raised:
    """The exception of a call."""

    def __init__(self, error: BaseException) -> None:
        # A future accepts no StopIteration, and a SystemExit would end the loop.
        ordinary = isinstance(error, Exception) and not isinstance(error, StopIteration)
        self.error: Exception = error if ordinary else RuntimeError(f"a call in a thread raised {type(error).__name__}")  # type: ignore[assignment]


def in_thread(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start a call in a thread of its own; return an awaitable for its result.

    It does not use the event loop's executor, which handlers may have filled or shut down. Raises RuntimeError when no
    thread can be started.
    """
    threads: Threads[T] = Threads(limit=1, name=name)
    ticket = threads.submit(call)
    threads.close()  # it ends after the call
    return ticket.future


class Ticket(Generic[T]):
    """A call in progress."""

    __slots__ = ("_call", "_loop", "future", "returned")

    def __init__(self, call: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        """The result of the call. Cancelling it does not stop the thread, which cannot be stopped."""
        self.returned = False

    def run(self) -> T | _Raised:
        """Make the call (in a thread)."""
        try:
            return self._call()
        except BaseException as error:  # noqa: BLE001 - passed on to the waiter; the thread lives on
            return _Raised(error)

    def deliver(self, result: T | _Raised) -> None:
        """Deliver the result (on the event loop)."""
        self.returned = True
        if self.future.done():
            return
        if isinstance(result, _Raised):
            self.future.set_exception(result.error)
        else:
            self.future.set_result(result)

    async def ended(self) -> None:
        """Wait until the thread is free again, also when the future was cancelled."""
        if not self.returned:
            if self.future.done():
                self.future = self._loop.create_future()
            await self.future


class Threads(Generic[T]):
    """At most ``limit`` threads, started on demand."""

    def __init__(self, *, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._calls: SimpleQueue[Ticket[T] | None] = SimpleQueue()
        self._results: deque[tuple[Ticket[T], T | _Raised]] = deque()
        self._threads: list[threading.Thread] = []
        self.busy = 0
        self._woken = False

    def submit(self, call: Callable[[], T]) -> Ticket[T]:
        """Run a call in a thread; call this on the event loop. Raises RuntimeError when no thread can be started."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(call, loop)
        if self.busy >= len(self._threads) < self._limit:
            # Daemons: a function that never returns must not keep the process from ending.
            thread = threading.Thread(
                target=self._run, args=(loop,), name=f"{self._name} {len(self._threads)}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self.busy += 1
        self._calls.put(ticket)
        return ticket

    def close(self) -> None:
        """End idle threads; busy ones are not waited for."""
        for _ in self._threads:
            self._calls.put(None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (ticket := self._calls.get()) is not None:
            result = ticket.run()
            self._results.append((ticket, result))
            del result  # not kept alive while the thread waits
            # A lost race wakes the loop once too often, never too rarely: the loop clears the flag before it checks.
            if not self._woken:
                self._woken = True
                try:
                    loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed: there are no waiters left
                    return

    def _deliver(self) -> None:
        self._woken = False
        while self._results:
            ticket, result = self._results.popleft()
            self.busy -= 1
            ticket.deliver(result)
