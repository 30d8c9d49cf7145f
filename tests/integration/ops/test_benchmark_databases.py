"""The databases of a benchmark are copies of a template, and workers start in them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.databases import Databases
from benchmarks.model import QUICK
from tests.support.engine import rows
from tests.support.tables import database


def test_workers_start_in_a_copy_of_a_template(server_dsn: str, tmp_path: Path) -> None:
    databases = Databases(server_dsn, tmp_path / "server.log", QUICK)
    try:
        with database(databases.fresh("empty")) as db:
            assert rows(db, "select state, problem from pgsched.database_state()") == [
                {"state": "unnoted", "problem": None}
            ]
    finally:
        databases.forget("empty")
