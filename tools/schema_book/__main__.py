"""Writes sql/schema.sql from a database of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from tools.schema_book import FILE, schema_book


def main() -> None:
    """Migrate an empty database and write its schema."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "data") as server:
        migrate(server.dsn)
        FILE.write_text(schema_book(server.dsn), encoding="utf-8")


main()
