"""TLS in front of the tests' server, which has none of its own: answers libpq's request for it as PostgreSQL does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself, and its key."""

    certificate: Path
    key: Path


def make_certificate(folder: Path, host: str) -> Certificate:
    """Make one for a host's name; by the program openssl, without which the test is left out."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl, which makes the certificates, is not installed")
    made = Certificate(folder / f"{host}.crt", folder / f"{host}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run(
        [*command, "-keyout", str(made.key), "-out", str(made.certificate)], check=True, capture_output=True, timeout=30
    )
    return made


@dataclass
class Front:
    """Who came, and where it listens."""

    port: int = 0
    encrypted: list[str] = field(default_factory=list)
    """The ``application_name`` of each connection that was encrypted."""
    plain: int = 0
    """Connections that asked for no encryption; they were closed."""


@contextlib.contextmanager
def tls_front(server_dsn: str, certificate: Certificate) -> Iterator[Front]:
    """Listen on 127.0.0.1 and pass on, decrypted, to the server of ``server_dsn``."""
    front = Front()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    listener = socket.create_server(("127.0.0.1", 0))
    front.port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        tasks: set[asyncio.Task[None]] = set()

        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_serve_one(front, server_dsn, context, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async with await asyncio.start_server(came, sock=listener):
            await ended.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # It warns of what libpq does when it does not trust a certificate, in the midst of the command's own output.
    noise, before = logging.getLogger("asyncio"), logging.getLogger("asyncio").level
    noise.setLevel(logging.ERROR)
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="tls front")
    thread.start()
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        noise.setLevel(before)
        loop.close()


async def _serve_one(
    front: Front, server_dsn: str, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError), contextlib.closing(writer):
        if await reader.readexactly(8) != _SSL_REQUEST:
            front.plain += 1
            return
        writer.write(b"S")
        await writer.start_tls(context)
        (length,) = struct.unpack("!i", head := await reader.readexactly(4))
        startup = await reader.readexactly(length - 4)
        words = startup[4:].split(b"\0")
        front.encrypted.append(dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode())
        inner_reader, inner_writer = await _connect(server_dsn)
        with contextlib.closing(inner_writer):
            inner_writer.write(head + startup)
            pumps = [asyncio.create_task(_pump(reader, inner_writer)), asyncio.create_task(_pump(inner_reader, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)


async def _connect(server_dsn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    given = conninfo_to_dict(server_dsn)
    host, port = str(given.get("host") or "localhost"), given.get("port") or 5432
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, int(port))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
