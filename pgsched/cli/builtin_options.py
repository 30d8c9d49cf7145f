"""The options of ``pgsched worker`` about the built-in handlers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from pgsched.builtin.settings import Builtins, read_commands
from pgsched.cli.options import program_option


class _Whole(click.types.StringParamType):
    """Text that is one value in the environment too, whatever spaces it holds."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


def builtin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, and make one argument of them: ``builtins()`` reads them, or raises ConfigError."""

    @functools.wraps(command)
    def with_settings(
        *arguments: Any,
        http: bool,
        http_allow: tuple[str, ...],
        http_allow_private: bool,
        allow_sql: bool,
        allow_shell: tuple[str, ...],
        **others: Any,
    ) -> Any:
        def builtins() -> Builtins:
            return Builtins(
                http=http,
                http_allow=http_allow,
                http_allow_private=http_allow_private,
                allow_sql=allow_sql,
                allow_shell=read_commands(allow_shell),
            )

        return command(*arguments, builtins=builtins, **others)

    for one in reversed(_OPTIONS):
        with_settings = one(with_settings)
    return with_settings


_OPTIONS: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
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
]
