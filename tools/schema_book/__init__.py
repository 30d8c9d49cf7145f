"""sql/schema.sql, the whole schema as one file, generated from the migrations: ``python -m tools.schema_book``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.schema_book.book import Book
from tools.schema_book.catalog import Catalog

FILE: Final = Path(__file__).parent.parent.parent / "sql" / "schema.sql"
MAJOR: Final = 18
"""The PostgreSQL version that the file is generated with: others may print the same expression differently."""


def schema_book(dsn: str) -> str:
    """Return the text of a migrated database's schema."""
    with Catalog(dsn) as catalog:
        return Book(catalog).text()
