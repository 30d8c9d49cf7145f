"""A relay before PostgreSQL through which no notification comes, as through a pooler in transaction mode."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

NOTIFICATION = b"A"


class Relay:
    """Passes everything on but notifications, which it counts."""

    def __init__(self, dsn: str) -> None:
        settings = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        self._host, self._port = settings.pop("host"), settings.pop("port", "5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        # Nothing is encrypted on the way, so that messages can be told apart.
        settings |= {"sslmode": "disable", "gssencmode": "disable"}
        settings |= {"host": "127.0.0.1", "port": str(self._listener.getsockname()[1])}
        self.dsn = "postgresql:///?" + urlencode(settings, quote_via=quote)
        self.kept_back = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Break every connection and take no more."""
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass_but_notifications, args=(server, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, int(self._port)))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), target, source:
            while data := source.recv(65536):
                target.sendall(data)

    def _pass_but_notifications(self, source: socket.socket, target: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError), target, source:
            while data := source.recv(65536):
                buffer += data
                # A message is its kind in one byte, its length in four (without the first), and the rest.
                while len(buffer) >= 5 and len(buffer) > (length := int.from_bytes(buffer[1:5], "big")):
                    message, buffer = buffer[: 1 + length], buffer[1 + length :]
                    if message[:1] == NOTIFICATION:
                        self.kept_back += 1
                    else:
                        target.sendall(message)


@contextmanager
def relay_to(dsn: str) -> Iterator[Relay]:
    """A relay to the server of ``dsn``."""
    relay = Relay(dsn)
    try:
        yield relay
    finally:
        relay.close()
