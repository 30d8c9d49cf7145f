"""sql/schema.sql, the schema as a book: ``python -m tools.schema_book`` writes it from what the migrations make."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.schema_book.book import Book
from tools.schema_book.catalog import Catalog

FILE: Final = Path(__file__).parent.parent.parent / "sql" / "schema.sql"
MAJOR: Final = 18
"""The version of PostgreSQL that the file is written with: another may print the same expression otherwise."""


def schema_book(dsn: str) -> str:
    """Return the text of a migrated database's schema."""
    with Catalog(dsn) as catalog:
        return Book(catalog).text()
