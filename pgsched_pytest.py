"""The pytest plugin of pgsched: a PostgreSQL for the tests, and a fresh migrated database for each of them.

It lies outside the package because pytest loads it wherever pgsched is installed: pgsched itself is imported only when
a fixture is first used. docs/testing.md describes the fixtures and the options.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pgsched.app.app import App
    from pgsched.client.client import Client
    from pgsched.testing.clock import Clock

_RUN = pytest.StashKey[str]()
_INPUT = "pgsched_run"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("pgsched")
    group.addoption(
        "--pgsched-dsn",
        metavar="DSN",
        help="the PostgreSQL server on which pgsched's test databases are created; the role needs CREATEDB.  "
        "[default: PGSCHED_TEST_DSN, the ini option pgsched_dsn, else an embedded one]",
    )
    parser.addini("pgsched_dsn", "same as --pgsched-dsn")
    parser.addini("pgsched_app", "the App that the fixture pgsched_app returns, as module:attribute")


def pytest_configure(config: pytest.Config) -> None:
    """Give the test run a name, which the processes of pytest-xdist share."""
    told: dict[str, Any] = getattr(config, "workerinput", {})
    config.stash[_RUN] = told.get(_INPUT) or uuid.uuid4().hex[:12]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the name to a process of pytest-xdist."""
    node.workerinput[_INPUT] = node.config.stash[_RUN]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the databases of the test run; import nothing when no test used one."""
    run = config.stash.get(_RUN, None)
    if run is None or hasattr(config, "workerinput"):
        return
    if (Path(tempfile.gettempdir()) / f"pgsched_pytest_{run}").exists():  # a test used a database
        from pgsched.testing.databases import clean_up

        clean_up(run)


@pytest.fixture(scope="session")
def pgsched_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of the server: PGSCHED_TEST_DSN, an option, or an embedded one."""
    from pgsched.testing.databases import server_of

    config = request.config
    given = config.getoption("--pgsched-dsn") or os.environ.get("PGSCHED_TEST_DSN") or config.getini("pgsched_dsn")
    with server_of(config.stash[_RUN], given or None) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def pgsched_template(request: pytest.FixtureRequest, pgsched_server: str) -> str:
    """The name of the database that each test gets a copy of; override it to add your own tables."""
    from pgsched.testing.databases import template_of

    return template_of(request.config.stash[_RUN], pgsched_server)


@pytest.fixture
def pgsched_dsn(
    request: pytest.FixtureRequest, pgsched_server: str, pgsched_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The DSN of a fresh database with pgsched's schema; PGSCHED_DSN is set to it while the test runs."""
    from pgsched.testing.databases import PREFIX, fresh_database

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"{PREFIX}{request.config.stash[_RUN]}_{worker}_{next(_numbers)}"
    with fresh_database(pgsched_server, name, template=pgsched_template) as dsn:
        monkeypatch.setenv("PGSCHED_DSN", dsn)
        yield dsn


@pytest.fixture
def pgsched_clock(pgsched_dsn: str) -> Iterator[Clock]:
    """The clock of the test's database, frozen at the time at which the test starts."""
    from pgsched.testing.clock import freeze

    with freeze(pgsched_dsn) as clock:
        yield clock


@pytest.fixture
def pgsched_app(request: pytest.FixtureRequest) -> App:
    """The App under test: that of the ini option ``pgsched_app``, otherwise an empty one. Override it with your own."""
    path = request.config.getini("pgsched_app")
    if path:
        from pgsched.app.loading import load_app

        return load_app(path)
    from pgsched.app.app import App

    return App()


@pytest.fixture
def pgsched_client(request: pytest.FixtureRequest, pgsched_app: App, pgsched_dsn: str) -> Iterator[Client]:
    """The client of the App, connected to the test's database, as are the App's other clients."""
    if "pgsched_clock" in request.fixturenames:
        request.getfixturevalue("pgsched_clock")  # before the first connection
    before = pgsched_app.use(pgsched_dsn)
    try:
        yield pgsched_app.client()
    finally:
        pgsched_app.close()
        pgsched_app.use(before)
