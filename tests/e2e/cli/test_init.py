"""``pgsched init``: the project that it writes works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.commands import Ended, pgsched
from tests.support.processes import CHECKOUT


def run(folder: Path, *words: str, dsn: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "MYPYPATH": str(CHECKOUT), "PGSCHED_TEST_DSN": dsn}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_project_is_written_once_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop"
    assert pgsched("init", folder).code == 0
    assert sorted(one.name for one in folder.iterdir()) == [
        *(".gitignore", "README.md", "compose.yaml", "pyproject.toml", "tasks.py", "test_tasks.py"),
    ]
    assert 'name = "my-shop"' in (folder / "pyproject.toml").read_text()
    assert "{{" not in "".join(one.read_text() for one in folder.iterdir())
    assert yaml.safe_load((folder / "compose.yaml").read_text())["services"]["postgres"]["image"] == "postgres:18"
    assert pgsched("init", folder).error.startswith(f"{folder} already has tasks.py, test_tasks.py, ")


def test_one_file_that_is_there_keeps_all_others_from_being_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert pgsched("init", tmp_path) == Ended(
        1, "", f"pgsched: {tmp_path} already has README.md: nothing was written\n"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["README.md"]


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write the project to" in pgsched("init", tmp_path / "file" / "shop").error


@pytest.mark.long
def test_project_passes_its_own_tests_and_checks(tmp_path: Path, server_dsn: str) -> None:
    assert pgsched("init", tmp_path).code == 0
    tested = run(tmp_path, "pytest", "-q", "-p", "pgsched_pytest", dsn=server_dsn)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    for check in (["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        checked = run(tmp_path, *check)
        assert checked.returncode == 0, checked.stdout + checked.stderr
