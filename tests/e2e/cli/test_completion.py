"""Completion in real shells, with names from the database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import pgsched
from tests.support.processes import CHECKOUT

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
SHELLS = ("bash", "zsh", "fish")

BASH = r"""
source completion
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgsched_completion pgsched
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
compdef() { : }
_describe() { local -a found; found=(${(@P)3}); print -l -- ${found%%:*}; }
compadd() { local -a found; found=(${(@P)@[-1]}); print -l -- $found; }
source ./completion
words=("$@"); CURRENT=$#; _pgsched_completion
"""
"""Stands in for zsh's completion system, which works on a terminal only: it prints what is offered."""
FISH = r"""
source completion
complete -C "$argv" | string split -f 1 \t
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the command as shells find it."""
    script = tmp_path / "pgsched"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m pgsched "$@"\n')
    script.chmod(0o755)
    return tmp_path


def complete(shell: str, folder: Path, *words: str, dsn: str = NOWHERE) -> set[str]:
    """What the shell offers for the last word of a command line."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed (apt-get install {shell})")
    (folder / "completion").write_text(pgsched("completion", shell).stdout)
    program = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    given = [" ".join(("pgsched", *words))] if shell == "fish" else ["pgsched", *words]
    command = [shell, "-c", program, *([shell] if shell != "fish" else []), *given]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "PGSCHED_DSN": dsn, "HOME": str(folder)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stderr == ""
    return {line.strip() for line in ended.stdout.splitlines() if line.strip()}


def test_commands_and_options_are_completed(folder: Path) -> None:
    assert complete("bash", folder, "ta") == {"task"}
    assert complete("bash", folder, "task", "list", "--stat") == {"--status"}


@pytest.mark.parametrize("shell", SHELLS)
def test_values_and_names_from_the_database_are_completed(shell: str, folder: Path, dsn: str) -> None:
    pgsched("task", "add", "report", "--every", "1d", "--key", "nightly-report", "--queue", "mail", dsn=dsn)
    assert complete(shell, folder, "task", "list", "--status", "c") == {"completed", "cancelled"}
    assert complete(shell, folder, "task", "show", "nig", dsn=dsn) == {"nightly-report"}
    if shell == "bash":
        assert complete(shell, folder, "queue", "pause", "m", dsn=dsn) == {"mail"}


def test_registered_types_are_completed(folder: Path, dsn: str) -> None:
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into pgsched.handlers (task_type) values ('greet'), ('report')")
    assert complete("bash", folder, "task", "add", "gr", dsn=dsn) == {"greet"}


def test_nothing_is_said_if_the_database_cannot_be_reached(folder: Path) -> None:
    assert complete("bash", folder, "queue", "pause", "m") == set()
    assert complete("bash", folder, "queue", "pause", "m", dsn="embedded:./data") == set()
    assert not (folder / "data").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_printed_without_a_database(shell: str) -> None:
    ended = pgsched("completion", shell, dsn=NOWHERE)
    assert (ended.code, ended.stderr) == (0, "")
    assert "_PGSCHED_COMPLETE" in ended.stdout


def test_nothing_is_said_if_the_database_does_not_answer(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        port = server.getsockname()[1]
        assert complete("bash", folder, "queue", "pause", "m", dsn=f"postgresql://nobody@127.0.0.1:{port}/x") == set()
