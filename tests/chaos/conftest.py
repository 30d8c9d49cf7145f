"""Fixtures of the chaos tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from chaos.fleet import Connection, Fleet
from tests.support.processes import PgschedRunner
from tests.support.tables import database


@pytest.fixture
def books(dsn: str) -> Iterator[Connection]:
    """The test's own connection, through which it inserts and keeps the books."""
    with database(dsn) as connection:
        yield connection


@pytest.fixture
def fleet_of(run_pgsched: PgschedRunner) -> Callable[..., Fleet]:
    """Make a fleet: ``fleet_of("--lease", "2")``; its workers are killed when the test ends."""

    def make(*options: str) -> Fleet:
        return Fleet(run_pgsched, *options)

    return make
