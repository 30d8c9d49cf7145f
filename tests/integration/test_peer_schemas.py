"""The tables of other queues in tests/support/peers are those of the packages, where these are installed."""

from __future__ import annotations

import importlib.resources
import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.processes import CHECKOUT
from tests.support.tables import database

PEERS = CHECKOUT / "tests" / "support" / "peers"
_COLUMNS = """
    select table_name, column_name, data_type, is_nullable, coalesce(column_default, '') as default
    from information_schema.columns
    where table_schema = 'public'
    order by table_name, ordinal_position
"""


def procrastinate_schema() -> str:
    return (importlib.resources.files("procrastinate") / "sql" / "schema.sql").read_text(encoding="utf-8")


def pgqueuer_schema() -> str:
    command = [sys.executable, "-m", "pgqueuer", "sql", "install"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _columns(dsn: str, schema: str) -> list[dict[str, object]]:
    with database(dsn) as connection:
        connection.execute(schema.encode())
        found = connection.execute(_COLUMNS).fetchall()
        connection.execute("drop schema public cascade; create schema public")
    return found


@pytest.mark.parametrize(
    ("package", "schema"), [("procrastinate", procrastinate_schema), ("pgqueuer", pgqueuer_schema)]
)
def test_tables_of_a_peer_are_those_of_its_package(package: str, schema: Callable[[], str], dsn: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is installed by `make bench` only")
    ours = (PEERS / f"{package}.sql").read_text(encoding="utf-8")
    assert _columns(dsn, ours) == _columns(dsn, schema())
