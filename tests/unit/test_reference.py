"""docs/reference_cli.md and docs/reference_python.md say what the program is now; ``make docs`` writes them again."""

from __future__ import annotations

import importlib
import inspect
import re
import sys

import click
import pytest

import pgsched
from pgsched.cli import commands
from tools.docs.cli_page import cli_page, inner_commands, told, walk
from tools.docs.markdown import anchor, table
from tools.docs.pages import FOLDER, OF_THE_PROGRAM
from tools.docs.python_page import INTERNAL, modules, public_names

EVERY_COMMAND = [pytest.param(command, id=path) for path, command in walk(commands, "pgsched")]


@pytest.mark.parametrize("name", list(OF_THE_PROGRAM))
def test_page_is_what_would_be_written_now(name: str) -> None:
    written = OF_THE_PROGRAM[name]()
    same = (FOLDER / name).read_text(encoding="utf-8") == written  # pytest would take seconds to show the difference
    assert same, f"docs/{name} is not up to date: make docs"


def test_page_differs_when_an_option_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    (option,) = [one for one in inner_commands(commands)["worker"].params if one.name == "lease"]
    monkeypatch.setattr(option, "default", 31.0)
    assert cli_page() != (FOLDER / "reference_cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_command_and_its_options_say_what_they_do(command: click.Command) -> None:
    assert command.help
    silent = [one.name for one in command.params if isinstance(one, click.Option) and not told(one)[0]]
    assert silent == []


def test_everything_that_is_exported_is_on_the_python_page() -> None:
    page = (FOLDER / "reference_python.md").read_text(encoding="utf-8")
    exported = [*pgsched.__all__, *[name for module in modules() for name in public_names(module)]]
    missing = [name for name in exported if f"### {name}\n" not in page and f"| `{name}" not in page]
    assert missing == []


def test_what_a_public_signature_names_is_on_the_python_page() -> None:
    page = (FOLDER / "reference_python.md").read_text(encoding="utf-8")
    public = [pgsched.App, pgsched.Client, *[getattr(one, name) for one in modules() for name in public_names(one)]]
    named = set()
    for thing in public:
        members = (
            [one for _, one in inspect.getmembers(thing, inspect.isfunction)] if inspect.isclass(thing) else [thing]
        )
        for member in members:
            told = not any(words in (inspect.getdoc(member) or "") for words in INTERNAL)
            if told and inspect.isfunction(member) and not member.__name__.startswith("_"):
                words = re.findall(r"\b[A-Z]\w+", str(member.__annotations__))
                known = {word: vars(sys.modules[member.__module__]).get(word) for word in words}
                named |= {
                    word for word, one in known.items() if inspect.isclass(one) and one.__module__[:7] == "pgsched"
                }
    assert "QueueInfo" in named
    assert {name for name in named if f"### {name}\n" not in page and f"| `{name}" not in page} == set()


@pytest.mark.parametrize("module", ["pgsched", *[one.__name__ for one in modules()]])
def test_everything_that_is_exported_says_what_it_is(module: str) -> None:
    loaded = importlib.import_module(module)
    things = [getattr(loaded, name) for name in loaded.__all__]
    assert [thing for thing in things if callable(thing) and not inspect.getdoc(thing)] == []


def test_anchor_is_that_of_github() -> None:
    assert anchor("`pgsched worker`: what *it* does, twice_") == "pgsched-worker-what-it-does-twice_"


def test_table_keeps_a_bar_in_its_cell() -> None:
    assert table(("a", "b"), [("x | y", "")]) == "| a | b |\n|---|---|\n| x \\| y | |\n"
