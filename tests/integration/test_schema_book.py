"""sql/schema.sql is what the migrations make: ``make schema`` writes it again."""

from __future__ import annotations

import os
import re
import subprocess

import psycopg
import pytest

from pgsched.db.embedded import packaged_binaries
from tests.tables import database
from tools.schema_book import FILE, MAJOR, schema_book


def dumped(dsn: str) -> list[str]:
    """The statements of pg_dump, sorted, without the partitions of single days."""
    printed = subprocess.run(
        [packaged_binaries() / "pg_dump", "--schema-only", "--no-owner", "--schema=pgsched", dsn],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Without remarks, psql's commands, the generated names of NOT NULL, and parentheses: PostgreSQL nests them
    # otherwise when it reads what it has printed.
    printed = re.sub(r"^(--|\\).*\n", "\n", printed, flags=re.MULTILINE)
    printed = re.sub(r" CONSTRAINT \w+(?= NOT NULL)|[()]", "", printed)
    return sorted(one for one in re.split(r"\n\n+", printed) if not re.search(r"_\d{8}(?!\d)", one))


@pytest.fixture
def from_book(empty_dsn: str) -> str:
    """The DSN of an empty database into which sql/schema.sql was loaded."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(FILE.read_text(encoding="utf-8").encode())
    return empty_dsn


def test_the_book_is_what_the_migrations_make(dsn: str) -> None:
    with database(dsn) as db:
        if db.info.server_version // 10000 != MAJOR:
            pytest.skip(f"the book is written with PostgreSQL {MAJOR}")
    assert FILE.read_text(encoding="utf-8") == schema_book(dsn), "make schema"


def test_the_book_makes_the_schema_that_the_migrations_make(dsn: str, from_book: str) -> None:
    assert schema_book(from_book) == schema_book(dsn)
    assert dumped(from_book) == dumped(dsn)
