"""A TCP proxy before PostgreSQL or another server that can fall silent, be slow, and cut connections amid a message.

It runs in a process of its own, which reads a command a line from its standard input and answers each with a line:

    pass            what comes is passed on (as at the start)
    reset           ends a silence, and closes connections that fell silent for clients too
    silent          nothing is passed on, on old connections and on new ones: they are accepted and never answered
    delay SECONDS   what comes is passed on so much later
    cut WHICH N     the next N messages of ``requests`` or ``answers`` are passed on by half, then both sides are cut
    count           answers with the number of connections that were cut or fell silent

Nobody is told of a silence: what is sent is taken and lost, and no side is closed. A connection that was silent stays
so for its client, as when a router has forgotten it; the server gets to know that it is gone when the silence ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from tests.support.processes import CHECKOUT

CHUNK = 65536


class Proxy:
    """The process with the proxy, and its commands. ``dsn`` leads through it, ``through`` any other DSN's server."""

    def __init__(self, dsn: str) -> None:
        settings = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        self._gate = Gate(f"{settings.pop('host')}/.s.PGSQL.{settings.pop('port', '5432')}")
        self.port = self._gate.port
        # Nothing is encrypted on the way: a unix socket's server does not offer it.
        settings |= {"sslmode": "disable", "gssencmode": "disable", "host": "127.0.0.1", "port": str(self.port)}
        self.dsn = "postgresql:///?" + urlencode(settings, quote_via=quote)

    def tell(self, command: str) -> int:
        """Give a command; returns the number that it is answered with."""
        return self._gate.tell(command)

    def close(self) -> None:
        """End it, and every connection through it."""
        self._gate.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Gate:
    """The process of a proxy before any server: the path of a unix socket, or ``host:port``."""

    def __init__(self, server: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.proxy", server],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.port = int(self._read())
        """Where it listens, on 127.0.0.1."""

    def tell(self, command: str) -> int:
        """As :meth:`Proxy.tell`."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        return int(self._read())

    def close(self) -> None:
        """End it, and every connection through it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the proxy has ended"
        return line


# In its process.


class _Way:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.lost = False

    def cut(self) -> None:
        for side in (self.client, self.server):
            if side is not None:
                side.transport.abort()


class _Switchboard:
    def __init__(self, server: str) -> None:
        self._server = server
        self._ways: set[_Way] = set()
        self._silent = False
        self._delay = 0.0
        self._cuts = {"requests": 0, "answers": 0}
        self._count = 0

    def obey(self, command: str) -> int:
        word, *rest = command.split()
        if word in ("pass", "reset"):
            self._silent, self._delay = False, self._delay if word == "reset" else 0.0
            for way in list(self._ways):
                if way.lost and word == "reset":
                    way.cut()
                elif way.lost and way.server is not None:
                    way.server.transport.abort()
        elif word == "silent":
            self._silent = True
            for way in self._ways:
                self._lose(way)
        elif word == "delay":
            self._delay = float(rest[0])
        elif word == "cut":
            self._cuts[rest[0]] += int(rest[1])
        elif word != "count":
            raise ValueError(f"unknown command {command!r}")
        return self._count

    def _lose(self, way: _Way) -> None:
        self._count += not way.lost
        way.lost = True

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server.startswith("/"):
            return await asyncio.open_unix_connection(self._server)
        host, _, port = self._server.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = _Way(writer)
        self._ways.add(way)
        try:
            if self._silent:
                self._lose(way)
                while await reader.read(CHUNK):
                    pass  # taken, and lost
                return
            server_reader, way.server = await self._connect()
            pumps = [
                asyncio.create_task(self._pump(way, reader, way.server, "requests")),
                asyncio.create_task(self._pump(way, server_reader, way.client, "answers")),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if way.lost:
                await pumps[0]  # the client does not notice that the server is gone
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is away: the client is cut
        finally:
            way.cut()
            self._ways.discard(way)

    async def _pump(self, way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def pass_on() -> None:
            while True:
                due, data = await waiting.get()
                if (left := due - loop.time()) > 0:
                    await asyncio.sleep(left)
                if not way.lost:
                    writer.write(data)
                    await writer.drain()

        passing = asyncio.create_task(pass_on())
        try:
            with suppress(OSError):
                while data := await reader.read(CHUNK):
                    if way.lost:
                        continue
                    if self._cuts[kind] and len(data) > 20:
                        self._cuts[kind] -= 1
                        self._count += 1
                        writer.write(data[: len(data) // 2])
                        await writer.drain()
                        return
                    waiting.put_nowait((loop.time() + self._delay, data))
                # What came before the end is passed on before it.
                while not waiting.empty() and not passing.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        finally:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)


async def _main(server: str) -> None:
    board = _Switchboard(server)
    listener = await asyncio.start_server(board.accept, "127.0.0.1", 0, limit=2 * CHUNK)
    print(listener.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(board.obey(line.decode()), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
