"""What every process in the way to a server needs: a port of its own, and to know when a query gets through."""

from __future__ import annotations

import socket

import psycopg


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(dsn: str) -> bool:
    """Whether a query is answered; a pooler accepts connections without its server."""
    try:
        with psycopg.connect(dsn, connect_timeout=3) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True
