"""What the tests of deploy/ share: the options that exist, the files, programs that may be missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pgsched.cli import commands
from tests.support.processes import CHECKOUT
from tools.docs.cli_page import inner_commands

DEPLOY = CHECKOUT / "deploy"
LEAVE_SECONDS = 15
"""So much longer than its shutdown timeout a worker may take, as docs/operations.md says."""


def read_yaml(path: Path) -> list[dict[str, Any]]:
    """Every document of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def options_of(*command: str) -> dict[str, click.Parameter]:
    """The options of ``pgsched COMMAND`` that are read from the environment, by their variable; the global ones too."""
    found: dict[str, click.Parameter] = {}
    current: click.Command = commands
    for word in ("", *command):
        if word:
            current = inner_commands(current)[word]
        found |= {p.envvar: p for p in current.params if isinstance(p.envvar, str)}
    return found


def check_settings(command: list[str], settings: dict[str, object]) -> None:
    """Fail for a PGSCHED_ variable that the command does not read, or whose value it would refuse."""
    options = options_of(*command)
    for name, value in settings.items():
        if name.startswith("PGSCHED_"):
            assert name in options, f"pgsched {' '.join(command)} reads no {name}"
            parameter = options[name]
            context = click.Context(click.Command("check"))
            parameter.type_cast_value(context, str(value).split() if parameter.multiple else str(value))


def program(name: str) -> str:
    """The path of a program of the machine, or beside the interpreter; where it is missing the test is passed by."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def tool(name: str) -> str:
    """The path of a program that is installed beside the interpreter."""
    return str(Path(sys.executable).with_name(name))


def run(*command: str | Path, timeout: float = 60, env: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed; all of it is the message if it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=timeout, check=False, env=env
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
