"""What most integration tests begin with: a client and a connection to a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgsched.client.client import Client
from tests.support.tables import database


@pytest.fixture
def db(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection of the owner, rows as dicts."""
    with database(dsn) as connection:
        yield connection


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    """A client of the owner."""
    with Client(dsn) as made:
        yield made
