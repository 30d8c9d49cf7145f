"""sql/schema.sql is what the migrations make: ``make schema`` writes it again."""

from __future__ import annotations

import re

import pytest

from tests.support.schema_dump import dump_schema, run_psql
from tests.support.tables import database
from tools.schema_book import FILE, MAJOR, schema_book


def dumped(dsn: str) -> list[str]:
    """The statements of pg_dump, sorted, without the partitions of single days."""
    # Without remarks, the generated names of NOT NULL, and parentheses: PostgreSQL nests them otherwise when it reads
    # what it has printed.
    text = re.sub(r"^--.*\n", "\n", dump_schema(dsn), flags=re.MULTILINE)
    statements = re.split(r"\n\n+", re.sub(r" CONSTRAINT \w+(?= NOT NULL)|[()]", "", text))
    return sorted(one for one in statements if not re.search(r"_\d{8}(?!\d)", one))


def test_the_book_is_what_the_migrations_make(dsn: str) -> None:
    with database(dsn) as db:
        if db.info.server_version // 10000 != MAJOR:
            pytest.skip(f"the book is written with PostgreSQL {MAJOR}")
    assert FILE.read_text(encoding="utf-8") == schema_book(dsn), "make schema"


def test_the_book_makes_the_schema_that_the_migrations_make(dsn: str, empty_dsn: str) -> None:
    run_psql(empty_dsn, FILE.read_text(encoding="utf-8"))
    assert schema_book(empty_dsn) == schema_book(dsn)
    assert dumped(empty_dsn) == dumped(dsn)
