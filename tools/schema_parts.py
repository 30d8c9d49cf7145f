"""Writes the schema's parts, which the doctor compares with a database: ``python -m tools.schema_parts``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import psycopg

from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from pgsched.db.queries.diagnostics import examinations
from pgsched.ops.doctor import schema

FILE = Path(schema.__file__).with_name("expected.json")


def parts_of(dsn: str) -> dict[str, dict[str, str]]:
    """Every index, trigger, column and constraint of a database, by kind and name."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in ("index", "trigger", "constraint", "domain", "column")}
    command = examinations([])["catalog"]
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        for part in command.parse(connection.execute(command.statement).fetchall()):
            found[part.kind][part.name] = part.definition
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "data") as server:
        migrate(server.dsn)
        FILE.write_text(json.dumps(parts_of(server.dsn), indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
