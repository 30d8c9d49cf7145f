"""A process without a free file descriptor: the database cannot be reached, which is said in one line."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from pgsched.db.connection import connect
from pgsched.domain.errors import DatabaseUnavailable


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    held: list[int] = []
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(number):
            os.close(held.pop())
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_without_a_free_descriptor_is_an_unavailable_database(dsn: str) -> None:
    connect(dsn).close()  # what is imported at first use is there
    said = []
    for left in range(4):  # libpq takes one for the connection, psycopg one to wait for the server
        try:
            with descriptors_left(left):
                connect(dsn).close()
        except DatabaseUnavailable as error:
            said.append(str(error))
    assert len(said) >= 2
    assert all("\n" not in one for one in said), said
    assert any("Too many open files" in one for one in said), said
