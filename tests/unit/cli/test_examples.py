"""The examples in the help of commands are valid calls."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from pgsched.cli import commands
from pgsched.cli.session import Session
from tools.docs.cli_page import inner_commands, walk

EXAMPLES = sorted(
    {
        line.strip()
        for _, command in walk(commands, "pgsched")
        if (command.epilog or "").startswith("\b")
        for line in (command.epilog or "").splitlines()[2:]
    }
)
WITH_VALUES = ("--dsn",)
"""Options of the program itself in examples, which stand before the command."""


def test_many_commands_have_an_example() -> None:
    assert len(EXAMPLES) > 40


@pytest.mark.parametrize("line", EXAMPLES)
def test_example_is_parsed_by_its_command(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the first command, or is redirected, belongs to the shell."""
    (tmp_path / "import.json").write_text('{"steps": []}')
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    words = words[: next((at for at, word in enumerate(words) if word in (">", "&&", "|")), len(words))]
    assert words.pop(0) == "pgsched"
    while words[0] in WITH_VALUES:
        words = words[2:]
    command: click.Command = commands
    while words and words[0] in inner_commands(command):
        command = inner_commands(command)[words.pop(0)]
    assert command is not commands
    command.make_context("example", words, parent=click.Context(commands, obj=Session()))
