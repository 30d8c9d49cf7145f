"""A DSN that the environment changes no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from pgsched.db.dsn import connection_options, pin


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def pinned(dsn: str) -> dict[str, object]:
    return dict(conninfo_to_dict(pin(dsn, os.environ)))


def test_what_the_dsn_says_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGUSER", "me")
    found = pinned("postgresql://here,there:6432/jobs")
    assert (found["host"], found["port"], found["user"], found["dbname"]) == ("here,there", ",6432", "me", "jobs")


def test_every_variable_of_libpq_is_pinned_but_those_that_cannot_be() -> None:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    free = known - pinned("host=here").keys()
    # Newer ones, for which libpq takes an empty text for a mistake, and those that each connection sets for itself.
    assert free <= {
        *("service", "application_name", "client_encoding", "sslcertmode"),
        *("min_protocol_version", "max_protocol_version"),
    }


def test_files_in_the_home_directory_are_found_when_it_is_another_one(tmp_path: Path) -> None:
    (tmp_path / ".pgpass").touch()
    found = pinned("")
    assert (found["passfile"], found["sslcert"]) == (str(tmp_path / ".pgpass"), "")


def test_relative_paths_do_not_depend_on_the_working_directory() -> None:
    assert pinned("sslrootcert=ca.crt")["sslrootcert"] == str(Path("ca.crt").absolute())
    assert pinned("sslrootcert=system")["sslrootcert"] == "system"


@pytest.mark.parametrize("dsn", ["service=jobs", "no dsn at all"])
def test_a_service_and_what_cannot_be_read_stay_as_they_are(dsn: str) -> None:
    assert pin(dsn, os.environ) == dsn


@pytest.mark.parametrize(
    ("dsn", "seconds"),
    [("host=a", "10"), ("host=a,b", "3"), ("hostaddr=10.0.0.1,10.0.0.2", "3"), ("host=a,b connect_timeout=7", "7")],
)
def test_each_of_several_hosts_gets_less_time_to_connect(dsn: str, seconds: str) -> None:
    assert pinned(dsn)["connect_timeout"] == seconds
    assert str(connection_options(dsn, "x").get("connect_timeout", "7")) == seconds


def test_several_hosts_of_the_environment_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "a,b")
    assert connection_options("", "x")["connect_timeout"] == 3
