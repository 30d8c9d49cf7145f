"""Which built-in handlers a worker serves, and under which names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pgsched.builtin import with_builtins
from pgsched.builtin.settings import NAMES, Builtins, read_commands
from pgsched.domain.errors import ConfigError
from pgsched.execution.registry import Registry


def mine() -> None:
    """A handler of the application."""


def test_nothing_is_served_unless_the_operator_says_so() -> None:
    assert not Builtins()
    assert with_builtins(Registry(), Builtins()).task_types == []


@pytest.mark.parametrize("asked", [{"http": True}, {"http_allow": ("127.0.0.1",)}, {"http_allow_private": True}])
def test_requests_are_served_when_they_or_their_destinations_are_allowed(asked: Any) -> None:
    assert Builtins(**asked)
    assert with_builtins(Registry(), Builtins(**asked)).task_types == ["http", "pgsched.http"]
    assert not Builtins(**{**asked, "http": False})


def test_everything_is_served_that_the_operator_allows() -> None:
    both = with_builtins(Registry(), Builtins(http=False, allow_sql=True, allow_shell={"backup": ("backup",)}))
    assert both.task_types == ["pgsched.shell", "pgsched.sql", "shell", "sql"]
    assert [one.transactional for one in both] == [True, True, False, False]


def test_nothing_is_served_when_all_is_off() -> None:
    off = Builtins(http=False)
    assert not off
    assert with_builtins(Registry(), off).task_types == []


def test_a_handler_of_the_application_keeps_its_name() -> None:
    own = Registry()
    own.register("http", mine)
    both = with_builtins(own, Builtins(http=True))
    handler, builtin = both.get("http"), both.get("pgsched.http")
    assert handler is not None
    assert builtin is not None
    assert handler.function is mine
    assert builtin.function is not mine
    assert own.task_types == ["http"]  # as it was


def test_the_long_names_are_those_of_pgsched() -> None:
    assert {name: names[0] for name, names in NAMES.items()} == {name: f"pgsched.{name}" for name in NAMES}


# The allow-list of commands.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("backup=/usr/bin/backup --full",), {"backup": ("/usr/bin/backup", "--full")}),
        (("a=b 'c d' e\\ f", "g = h"), {"a": ("b", "c d", "e f"), "g": ("h",)}),
        (("a=env X=1 b",), {"a": ("env", "X=1", "b")}),
        (('{"a": ["b", "c d"], "e": "f g"}',), {"a": ("b", "c d"), "e": ("f", "g")}),
        ((), {}),
    ],
)
def test_commands_are_read(given: tuple[str, ...], expected: dict[str, tuple[str, ...]]) -> None:
    assert read_commands(given) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [("commands.json", json.dumps({"a": ["b", "c"]})), ("commands.toml", 'a = ["b", "c"]\n')],
)
def test_commands_are_read_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_commands((f"@{tmp_path / name}",)) == {"a": ("b", "c")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("backup", "allow-shell must be NAME=COMMAND, a JSON object or @FILE, got 'backup'"),
        ("=ls", "allow-shell: a name must have 1 to 200 printable characters, got ''"),
        ("a=", "allow-shell 'a' must name a program"),
        ("a='b", "allow-shell 'a': the command line cannot be split: No closing quotation"),
        ("{", "allow-shell is no JSON: "),
        ('{"a": 1}', "allow-shell 'a' must be a list of texts, got 1"),
        ('{"a": ["b", 1]}', "allow-shell 'a' must be a list of texts"),
        ('{"a": []}', "allow-shell 'a' must name a program"),
        ("@/no/such/file.json", "allow-shell @/no/such/file.json cannot be read: No such file or directory"),
    ],
)
def test_allow_list_that_cannot_be_read_is_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(said)):
        read_commands((given,))


def test_command_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^allow-shell must not name a command twice, got 'a' again$"):
        read_commands(("a=b", "a=c"))


@pytest.mark.parametrize("settings", [{"http_allow": ("a b",)}, {"allow_shell": {"a": ()}}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Builtins(**settings)
