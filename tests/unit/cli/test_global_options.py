"""An option of the program that stands behind a command is answered by where it belongs."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from pgsched.cli import COMMANDS, commands, main

GLOBAL = {
    "--dsn": "--dsn DSN",
    "--shard": "--shard NAME",
    "--log-level": "--log-level LEVEL",
    "--tz": "--tz ZONE",
    "--no-color": "--no-color",
    "--quiet": "--quiet",
    "--version": "--version",
}


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(commands)
    for name in COMMANDS:
        found = commands.get_command(context, name)
        assert found is not None
        yield from walk((name,), found)


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk((*path, name), below)


ALL = dict(every_command())


def test_all_global_options_are_tried() -> None:
    assert {one.opts[0] for one in commands.params} == GLOBAL.keys()


@pytest.mark.parametrize("option", GLOBAL)
@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_global_option_behind_a_command_is_told_its_place(
    path: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any(option in one.opts for one in ALL[path].params), "an option of its own has the same name"
    assert main([*path, option, "x"]) == 2
    line = f"{option} is an option of pgsched itself and goes before the command: pgsched {GLOBAL[option]} "
    assert capsys.readouterr().err == f"pgsched: {line}{' '.join(path)} …\n"


def test_an_option_that_nobody_has_is_told_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--colour"]) == 2
    assert "No such option '--colour'" in capsys.readouterr().err
