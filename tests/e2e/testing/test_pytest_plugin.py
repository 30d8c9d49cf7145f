"""The pytest plugin in a pytest of its own: a server for the run, a database for each test, nothing unasked for."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.processes import CHECKOUT
from tests.support.waiting import wait_until

pytest_plugins = ["pytester"]

SHOP = """
from pgsched import App

app = App(dsn="postgresql://nobody@127.0.0.1:1/not_this_one")


@app.task("email")
async def email(to: str) -> str:
    return f"sent to {to}"


def sign_up(name: str) -> None:
    email.schedule(to=name, delay="1h")
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, server_dsn: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests that run on the server of ours."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of our own tests take seconds to load
    monkeypatch.setenv("PGSCHED_TEST_DSN", server_dsn)
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(inner: pytest.Pytester, *arguments: str, **outcomes: int) -> pytest.RunResult:
    result = inner.runpytest_subprocess("-p", "pgsched_pytest", "-p", "no:cacheprovider", *arguments)
    result.assert_outcomes(**outcomes)
    return result


def left_behind(server: str) -> list[str]:
    with psycopg.connect(server) as connection:
        found = connection.execute("select datname from pg_database where starts_with(datname, 'pgsched_pytest_')")
        return [row[0] for row in found]


@pytest.mark.slow
def test_each_test_has_a_database_and_a_clock_of_its_own_in_every_process(
    inner: pytest.Pytester, server_dsn: str
) -> None:
    inner.makeini("[pytest]\npgsched_app = shop:app\n")
    inner.makepyfile(
        """
        import os
        from datetime import UTC, datetime, timedelta

        import pytest

        import shop
        from pgsched.testing import assert_not_scheduled, assert_scheduled, run_due, run_due_async


        @pytest.mark.parametrize("number", range(2))
        def test_sign_up(number, pgsched_client, pgsched_clock):
            assert_not_scheduled(pgsched_client)
            shop.sign_up("ada")
            due = pgsched_clock.now() + timedelta(hours=1)
            assert_scheduled(pgsched_client, "email", {"to": "ada"}, at=due, count=1)
            assert run_due(shop.app) == []
            pgsched_clock.advance("1h")
            (ran,) = run_due(shop.app)
            assert ran.result == "sent to ada"


        def test_database(pgsched_dsn):
            assert os.environ["PGSCHED_DSN"] == pgsched_dsn
            assert "pgsched_pytest_" in pgsched_dsn


        def test_app_is_as_it_was():
            assert shop.app.dsn.endswith("not_this_one")
            assert "PGSCHED_DSN" not in os.environ


        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_async(anyio_backend, pgsched_client):
            await shop.email.schedule_async(to="bob")
            (ran,) = await run_due_async(shop.app)
            assert ran.result == "sent to bob"
            await shop.app.close_async()
        """
    )
    run(inner, "-p", "xdist", "-p", "anyio", "-n", "2", passed=5)
    # Other tests of this file may have theirs there meanwhile.
    wait_until(lambda: not left_behind(server_dsn), message="no database is left behind")


@pytest.mark.slow
def test_app_and_template_are_overridden_and_failures_list_what_is_there(inner: pytest.Pytester) -> None:
    inner.makeconftest(
        """
        import psycopg
        import pytest

        import shop


        @pytest.fixture
        def pgsched_app():
            return shop.app


        @pytest.fixture(scope="session")
        def pgsched_template(pgsched_template, pgsched_server):
            from pgsched.db.embedded.spare_databases import with_database

            with psycopg.connect(with_database(pgsched_server, pgsched_template)) as connection:
                connection.execute("create table if not exists orders (id int)")
            return pgsched_template
        """
    )
    inner.makepyfile(
        """
        import psycopg

        import shop
        from pgsched.testing import assert_scheduled


        def test_own_table(pgsched_dsn):
            with psycopg.connect(pgsched_dsn) as connection:
                assert connection.execute("select count(*) from orders").fetchone() == (0,)


        def test_wrong(pgsched_client):
            shop.sign_up("ada")
            assert_scheduled(pgsched_client, "email", {"to": "eve"})
        """
    )
    result = run(inner, passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ['*AssertionError: no task: email with payload {"to": "eve"}', "*1 email pending queue=default*ada*"]
    )


def test_nothing_is_imported_or_made_before_a_fixture_is_asked_for(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSCHED_TEST_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    inner.makepyfile(
        """
        import sys


        def test_nothing():
            assert "pgsched_pytest" in sys.modules
            assert not {"pgsched", "psycopg", "prometheus_client", "opentelemetry"} & set(sys.modules)
        """
    )
    run(inner, passed=1)


@pytest.mark.slow
def test_embedded_server_comes_without_any_setting_and_goes_with_the_run(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("PGSCHED_TEST_DSN")
    inner.makepyfile(
        """
        def test_one(pgsched_client, pgsched_server):
            assert pgsched_client.schedule("email") == 1
            assert "pgsched_pytest_" in pgsched_server
            print("server:", pgsched_server)


        def test_two(pgsched_client):
            assert pgsched_client.schedule("email") == 1
        """
    )
    result = run(inner, "-s", passed=2)
    (line,) = [line for line in result.outlines if "server: " in line]
    server = line.partition("server: ")[2]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server)
    (name,) = re.findall("pgsched_pytest_[0-9a-f]+", str(conninfo_to_dict(server)["host"]))
    assert not (Path(tempfile.gettempdir()) / name).exists()


@pytest.mark.slow
def test_server_that_cannot_be_reached_is_an_error_of_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_one(pgsched_client): ...")
    result = run(inner, "--pgsched-dsn", "postgresql://nobody@127.0.0.1:1/nothing", errors=1)
    result.stdout.fnmatch_lines(["*DatabaseUnavailable: cannot connect to PostgreSQL at 127.0.0.1:1/nothing*"])
