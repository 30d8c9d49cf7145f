"""deploy/systemd: by systemd's own checks, and what the units have to agree on with the program."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import pytest

from pgsched.db.migrations.runner import LOCK_WAIT_SECONDS
from tests.deploy.parts import DEPLOY, LEAVE_SECONDS, check_settings, program, run

FOLDER = DEPLOY / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSURE = 1.5
"""The most that `systemd-analyze security` may say: 0 is a unit that can do nothing, 10 one that nothing holds back."""

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)


def settings(unit: Path) -> list[tuple[str, str]]:
    """The lines of the section [Service], in order: some come more than once."""
    section = re.split(r"^\[(\w+)\]\n", unit.read_text(), flags=re.MULTILINE)
    lines = section[section.index("Service") + 1].splitlines()
    return [(name, value) for name, _, value in (line.partition("=") for line in lines if line and line[0] != "#")]


def one(unit: Path, name: str) -> str:
    (value,) = [value for key, value in settings(unit) if key == name]
    return value


def environment(unit: Path) -> dict[str, str]:
    return dict(value.split("=", 1) for name, value in settings(unit) if name == "Environment")


def command(unit: Path) -> list[str]:
    program_path, *words = one(unit, "ExecStart").split()
    assert program_path == "/opt/pgsched/bin/pgsched"
    return words


@pytest.fixture(scope="module")
def runnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies whose program is on this machine, which the checks look at."""
    folder = tmp_path_factory.mktemp("units")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/pgsched/bin/pgsched", sys.executable)
        (folder / unit.name).write_text(text.replace("WorkingDirectory=/opt/pgsched", "WorkingDirectory=/"))
    return folder


def test_the_units_are_those_of_the_documentation() -> None:
    assert [unit.name for unit in UNITS] == [
        "pgsched-migrate.service",
        "pgsched-web.service",
        "pgsched-worker@.service",
    ]


def test_systemd_finds_no_mistake(runnable: Path) -> None:
    said = run(program("systemd-analyze"), "verify", *sorted(runnable.glob("*.service")))
    ours = [line for line in said.splitlines() if not line.startswith(("/lib/", "/usr/lib/"))]  # units of the machine
    assert ours == []


def test_systemd_would_find_a_mistake(runnable: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.service"
    broken.write_text(
        (runnable / "pgsched-web.service").read_text().replace("WatchdogSec", "").replace("Type=notify", "Typ=notify")
    )
    assert "Typ" in run(program("systemd-analyze"), "verify", broken)


@each_unit
def test_unit_is_hardened(unit: Path, runnable: Path) -> None:
    run(
        program("systemd-analyze"),
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE * 10:.0f}",
        runnable / unit.name,
    )


@each_unit
def test_no_line_is_there_twice_by_mistake(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(unit.read_text())
    many = {"Environment", "EnvironmentFile", "SystemCallFilter", "Wants", "After"}
    seen = [name for name, _ in settings(unit) if name not in many]
    assert len(seen) == len(set(seen))


@each_unit
def test_variables_are_options_of_the_command(unit: Path) -> None:
    check_settings(command(unit), dict(environment(unit)))


def test_variables_of_the_example_are_options_of_the_worker() -> None:
    lines = (FOLDER / "pgsched.env.example").read_text().splitlines()
    given = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"(# )?PGSCHED_\w+=", line))
    assert {"PGSCHED_DSN", "PGSCHED_APP", "PGSCHED_QUEUE"} <= given.keys()
    check_settings(["worker"], dict(given))


@each_unit
def test_the_password_comes_as_a_credential(unit: Path) -> None:
    name, _, source = one(unit, "LoadCredential").partition(":")
    assert environment(unit)["PGSERVICEFILE"] == f"%d/{name}"
    assert source.startswith("/etc/pgsched/")
    assert "PGSCHED_DSN=service=pgsched\n" in (FOLDER / "pgsched.env.example").read_text()
    assert "[pgsched]\n" in (FOLDER / "pg_service.conf.example").read_text()


def test_worker_is_watched_and_given_longer_to_end_than_it_takes() -> None:
    (unit,) = [unit for unit in UNITS if "@" in unit.name]
    assert one(unit, "Type") == "notify"
    assert float(one(unit, "WatchdogSec")) >= 30
    timeout = float(environment(unit)["PGSCHED_SHUTDOWN_TIMEOUT"])
    assert float(one(unit, "TimeoutStopSec")) >= timeout + LEAVE_SECONDS
    assert one(unit, "Restart") == "on-failure"
    assert one(unit, "KillMode") == "mixed"


def test_migrations_get_longer_than_they_wait_for_locks() -> None:
    (unit,) = [unit for unit in UNITS if "migrate" in unit.name]
    assert one(unit, "Type") == "oneshot"
    assert float(one(unit, "TimeoutStartSec")) > LOCK_WAIT_SECONDS
