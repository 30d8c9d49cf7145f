"""Counts the statements that this process sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest


class Sent:
    """How many statements were sent."""

    number = 0

    def since(self) -> int:
        """Return how many there were since the last time."""
        number, self.number = self.number, 0
        return number


@contextmanager
def counted() -> Iterator[Sent]:
    """Count what is sent by psycopg's connections, the begin and the end of transactions too."""
    sent = Sent()

    def counting(kind: Any, name: str) -> None:
        plain = getattr(kind, name)

        def send(*arguments: Any, **options: Any) -> Any:
            sent.number += 1
            return plain(*arguments, **options)

        patch.setattr(kind, name, send)

    with pytest.MonkeyPatch.context() as patch:
        counting(psycopg.Cursor, "execute")
        counting(psycopg.AsyncCursor, "execute")
        counting(psycopg.BaseConnection, "_exec_command")
        yield sent
