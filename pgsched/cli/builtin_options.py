"""The options of ``pgsched worker`` about the built-in handlers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from pgsched.builtin.settings import Builtins, read_commands
from pgsched.cli.options import option_group, program_option


class _Whole(click.types.StringParamType):
    """Text that the environment gives as one value, even if it contains spaces."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


_OPTIONS = option_group(
    program_option(
        "--http/--no-http", default=True, show_default=True, help="Serve pgsched.http: requests to public addresses."
    ),
    program_option(
        "--http-allow",
        metavar="NAME",
        multiple=True,
        help="A network, address or host to which requests may go too; may be repeated.",
    ),
    program_option("--http-allow-private", is_flag=True, help="Requests may go to every private and loopback address."),
    program_option(
        "--allow-sql", is_flag=True, help="Serve pgsched.sql: any statement, with the rights of this worker."
    ),
    program_option(
        "--allow-shell",
        metavar="NAME=COMMAND",
        multiple=True,
        type=_Whole(),
        help="Serve pgsched.shell: this command, under this name; may be repeated. Also a JSON object or @FILE.",
    ),
)


def builtin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options to a command, as one argument: ``builtins()`` validates them, or raises ConfigError."""

    @_OPTIONS
    @functools.wraps(command)
    def with_settings(*arguments: Any, allow_shell: tuple[str, ...], **given: Any) -> Any:
        ours = {name: given.pop(name) for name in ("http", "http_allow", "http_allow_private", "allow_sql")}
        return command(*arguments, builtins=lambda: Builtins(**ours, allow_shell=read_commands(allow_shell)), **given)

    return with_settings
