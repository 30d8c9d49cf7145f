"""A server that is older than those pgsched works with is refused in one line, before anything is changed."""

from __future__ import annotations

import pytest

from pgsched.db import server_version
from pgsched.db.migrations.runner import check_schema
from pgsched.errors import UnfitDatabase
from tests.support.commands import pgsched
from tests.support.tables import database


@pytest.fixture(autouse=True)
def too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own server, for a program that needs a newer one."""
    monkeypatch.setattr(server_version, "SUPPORTED", range(99, 101))


def test_migrate_refuses_it_and_changes_nothing(empty_dsn: str) -> None:
    with database(empty_dsn) as db:
        major = db.info.server_version // 10_000
        ended = pgsched("migrate", dsn=empty_dsn)
        assert ended.code == 1
        assert ended.error == f"the server is PostgreSQL {major}: pgsched needs PostgreSQL 99 or newer"
        assert db.execute("select to_regnamespace('pgsched') as schema").fetchone() == {"schema": None}


def test_what_checks_the_schema_first_refuses_it(dsn: str) -> None:
    with pytest.raises(UnfitDatabase, match="pgsched needs PostgreSQL 99 or newer"):
        check_schema(dsn)
