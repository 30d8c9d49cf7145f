"""Our connections: they give up on a server that falls silent, and know whether a pooler is in between.

A network may lose a connection without a word, or a proxy in it may go on taking what is sent to nobody. The kernel
notices neither, so whoever waits for an answer has to say how long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async

from pgsched.concurrency import fork_guard

T = TypeVar("T")

CANCEL_SECONDS = 0.5
"""How long the server may take to be told that nobody waits for a statement any more."""
LOOK_SECONDS = 0.1
"""How often one that waits looks at the clock."""


class SilentServer(psycopg.OperationalError):
    """No answer came in time. The connection is closed."""


class Link(Connection[tuple[Any, ...]]):
    """A connection of a thread."""

    patience = inf
    """Seconds for which an answer is waited for."""
    pooled = False
    """There is a pooler in between, and two transactions may be in two sessions: nothing may be kept in one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """Leave the session to the process that this one is a copy of."""
        _cut_off(self)

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what every method of a connection and its cursors is done with."""
        if self.patience == inf:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_patiently(gen, self.patience), *args, **kwargs)
        except SilentServer:
            self.pgconn.finish()
            raise


class AsyncLink(AsyncConnection[tuple[Any, ...]]):
    """A connection of an event loop. Whoever stops waiting for an answer has no connection any more."""

    patience = inf
    """As in :class:`Link`."""
    pooled = False
    """As in :class:`Link`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fork_guard.watch(self)

    def begin_afresh(self) -> None:
        """As in :class:`Link`."""
        _cut_off(self)

    async def wait(self, gen: Any, interval: float = LOOK_SECONDS, timeout: float | None = None) -> Any:
        """As in :class:`Link`. One that is cancelled tells the server, for a moment: it may be silent."""
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        waiting = wait_async(gen, self.pgconn.socket, interval=interval, **more)
        try:
            if self.patience == inf:
                return await waiting
            async with asyncio.timeout(self.patience):
                return await waiting
        except asyncio.CancelledError:
            await self._give_up()
            raise
        except TimeoutError:
            await self._give_up()
            raise _silent(self.patience) from None

    async def _give_up(self) -> None:
        try:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error, OSError, TimeoutError):
                    await self.cancel_safe(timeout=CANCEL_SECONDS)
        finally:
            self.pgconn.finish()


def _cut_off(link: Link | AsyncLink) -> None:
    with suppress(psycopg.Error):  # it is closed
        fork_guard.cut_off(link.pgconn.socket)


def _patiently(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """The same steps; an error once no answer has come for so long."""
    until = monotonic() + seconds
    ready = None
    while True:
        try:
            step = gen.send(ready)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        ready = yield step
        if ready:
            until = monotonic() + seconds
        elif monotonic() >= until:
            raise _silent(seconds)


def _silent(seconds: float) -> SilentServer:
    return SilentServer(f"no answer within {seconds:g} s")
