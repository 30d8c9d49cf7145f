"""Which PostgreSQL an embedded server runs: the package's, else one of the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgsched.db.embedded import programs
from pgsched.db.embedded.processes import command_line, exists
from pgsched.db.embedded.programs import packaged_binaries, server_programs
from pgsched.domain.errors import ConfigError

Machine = Callable[..., dict[str, Path]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make a machine that has these versions installed, and the package of this one."""

    def make(*versions: str, packaged: str | None = None, without: str = "") -> dict[str, Path]:
        found = {}
        for version in (*versions, *((packaged,) if packaged else ())):
            folder = found[version] = tmp_path / version / "bin"
            folder.mkdir(parents=True)
            for program in {"initdb", "pg_ctl", "postgres"} - {without}:
                path = folder / program
                path.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
                path.chmod(0o755)
        monkeypatch.setattr(programs, "INSTALLED", tuple(str(found[version]) for version in versions))
        monkeypatch.setattr(programs, "find_packaged", lambda: found[packaged] if packaged else None)
        monkeypatch.setenv("PATH", str(tmp_path))
        return found

    return make


def data_of(tmp_path: Path, major: str) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text(f"{major}\n")
    return data


def test_the_package_comes_first(machine: Machine, tmp_path: Path) -> None:
    found = machine("19.1", "15.3", packaged="18.6")
    assert server_programs(tmp_path / "new") == found["18.6"]


def test_without_the_package_the_newest_of_the_machine_runs(machine: Machine, tmp_path: Path) -> None:
    found = machine("9.6.24", "15.3", "17.2", "16.1")
    assert server_programs(tmp_path / "new") == found["17.2"]


def test_data_are_run_by_the_version_that_made_them(machine: Machine, tmp_path: Path) -> None:
    found = machine("15.3", "17.2", packaged="18.6")
    assert server_programs(data_of(tmp_path, "15")) == found["15.3"]


def test_an_installation_on_path_is_found(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine("16.1")
    monkeypatch.setattr(programs, "INSTALLED", ())
    monkeypatch.setenv("PATH", str(found["16.1"]))
    assert server_programs(tmp_path / "new") == found["16.1"]


@pytest.mark.parametrize("version", ["13.9", "9.6"])
def test_an_older_one_than_pgsched_runs_on_is_none(machine: Machine, tmp_path: Path, version: str) -> None:
    machine(version)
    with pytest.raises(ConfigError, match="there is no PostgreSQL 14 or newer on this machine"):
        server_programs(tmp_path / "new")


def test_a_client_alone_is_no_server(machine: Machine, tmp_path: Path) -> None:
    machine("16.1", without="initdb")
    with pytest.raises(ConfigError, match="there is no PostgreSQL"):
        server_programs(tmp_path / "new")


def test_package_that_is_missing_names_its_extra(machine: Machine) -> None:
    machine("16.1")
    with pytest.raises(ConfigError, match=r"pip install 'pgsched\[embedded\]'$"):
        packaged_binaries()


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**70])
def test_a_pid_of_nobody(pid: int) -> None:
    assert not exists(pid)
    assert command_line(pid) == ""


def test_a_pid_of_another_user_exists() -> None:
    assert exists(1)
    assert command_line(1) != ""
