"""Which built-in handlers a worker serves and what they may do; set by the operator, never by a task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pgsched.builtin.destinations import Destinations
from pgsched.domain.errors import ConfigError
from pgsched.domain.json_text import unique_keys

NAMES: Final = {"http": ("pgsched.http", "http"), "sql": ("pgsched.sql", "sql"), "shell": ("pgsched.shell", "shell")}
"""The task types of each built-in handler: its own, and a short one that the application may override."""


@dataclass(frozen=True, kw_only=True)
class Builtins:
    """The built-in handlers that a worker serves."""

    http: bool | None = None
    """Serve requests. None: only if destinations are allowed besides the public ones."""
    http_allow_private: bool = False
    """Allow requests to private and loopback addresses."""
    http_allow: tuple[str, ...] = ()
    """Networks, addresses and host names to which requests are always allowed."""
    allow_sql: bool = False
    allow_shell: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The allowed commands by name, as lists of arguments."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid network, host or command."""
        _ = self.destinations
        for name, command in self.allow_shell.items():
            _check_command(name, list(command))

    @property
    def destinations(self) -> Destinations:
        """The allowed destinations of requests."""
        return Destinations.of(allow_private=self.http_allow_private, entries=self.http_allow)

    def __bool__(self) -> bool:
        """Whether any handler is enabled."""
        return self.serves_http or self.allow_sql or bool(self.allow_shell)

    @property
    def serves_http(self) -> bool:
        """Whether requests are served because of an explicit setting."""
        return (self.http_allow_private or bool(self.http_allow)) if self.http is None else self.http


def read_commands(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Read an allow-list of commands: ``NAME=COMMAND LINE``, a JSON object of lists of arguments, or ``@FILE``.

    A file contains such an object, in TOML if its name ends in ``.toml``, else in JSON; there a command may also be one
    line of text. A line is split as a shell would, but run without a shell. Raises ConfigError.
    """
    commands: dict[str, tuple[str, ...]] = {}
    for entry in given:
        for name, command in _entries(entry.strip()):
            if name in commands:
                raise ConfigError(f"allow-shell must not name a command twice, got {name!r} again")
            commands[name] = _check_command(name, command)
    return commands


def _entries(entry: str) -> list[tuple[str, Any]]:
    if entry.startswith(("{", "@")):
        return list(_object(entry).items())
    name, equals, line = entry.partition("=")
    if not equals:
        raise ConfigError(f"allow-shell must be NAME=COMMAND, a JSON object or @FILE, got {entry!r}")
    return [(name.strip(), line)]


def _object(entry: str) -> dict[str, Any]:
    what = f"allow-shell {entry}" if entry.startswith("@") else "allow-shell"
    try:
        text = Path(entry[1:]).read_text(encoding="utf-8") if entry.startswith("@") else entry
        found = _toml(text) if entry.endswith(".toml") else json.loads(text, object_pairs_hook=unique_keys)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # of either format, and of text that is not UTF-8
        kind = "TOML" if entry.endswith(".toml") else "JSON"
        raise ConfigError(f"{what} is no {kind}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{what} must be an object of commands by their names, got a {type(found).__name__}")
    return found


def _toml(text: str) -> dict[str, Any]:
    import tomllib  # imported late: it is slower to import than the rest of this package, and rarely needed

    return tomllib.loads(text)


def _check_command(name: str, command: object) -> tuple[str, ...]:
    if not name or len(name) > 200 or not name.isprintable():
        raise ConfigError(f"allow-shell: a name must have 1 to 200 printable characters, got {name!r}")
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"allow-shell {name!r}: the command line cannot be split: {error}") from error
    if not isinstance(command, list) or not all(isinstance(part, str) and "\0" not in part for part in command):
        raise ConfigError(f"allow-shell {name!r} must be a list of texts, got {command!r}")
    if not command or not command[0]:
        raise ConfigError(f"allow-shell {name!r} must name a program")
    return tuple(command)
