"""A TCP proxy before PostgreSQL that delays both directions, as a network between workers and server does.

``python -m benchmarks.delay SOCKET SECONDS`` prints its port. It waits by select(), whose timeout is a timer of the
kernel with a resolution of microseconds: epoll, which asyncio uses by default, waits for whole milliseconds. What a
round trip through it really takes must be measured; it has some tenths of a millisecond of its own.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict


@contextmanager
def delayed(dsn: str, round_trip: float) -> Iterator[str]:
    """Yield a DSN that leads to the same database over a round trip of so many seconds; over none, the same DSN."""
    if not round_trip:
        yield dsn
        return
    settings = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    socket = f"{settings.pop('host')}/.s.PGSQL.{settings.pop('port', '5432')}"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delay", socket, str(round_trip / 2)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        settings |= {"sslmode": "disable", "gssencmode": "disable", "host": "127.0.0.1", "port": port}
        yield "postgresql:///?" + urlencode(settings, quote_via=quote)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


# In its process.


class _Side(asyncio.Protocol):
    """One end of a connection: what it receives is written to the other end later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._late: deque[tuple[float, bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        due = self._loop.time() + self._delay
        self._late.append((due, data))
        if len(self._late) == 1:
            self._loop.call_at(due, self._pass_on)

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.other
        if other is not None and other.transport is not None:
            self._loop.call_later(self._delay, other.transport.close)

    def _pass_on(self) -> None:
        now = self._loop.time()
        while self._late and self._late[0][0] <= now + 1e-5:
            data = self._late.popleft()[1]
            if self.other is not None and self.other.transport is not None:
                self.other.transport.write(data)
        if self._late:
            self._loop.call_at(self._late[0][0], self._pass_on)


class _Client(_Side):
    """The end of the client: connects to the server."""

    def __init__(self, delay: float, socket: str) -> None:
        super().__init__(delay)
        self._socket = socket
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            _, server = await self._loop.create_unix_connection(lambda: _Side(self._delay), self._socket)
        except OSError:
            self.transport.abort()
            return
        self.other, server.other = server, self
        self.transport.resume_reading()


async def _main(socket: str, delay: float) -> None:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Client(delay, socket), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.set_event_loop(_loop := asyncio.SelectorEventLoop(selectors.SelectSelector()))
    _loop.run_until_complete(_main(sys.argv[1], float(sys.argv[2])))
