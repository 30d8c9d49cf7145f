"""The environment sets up programs and never a task: every option of every command, one by one."""

from __future__ import annotations

import click
import pytest

from pgsched.cli import commands
from tools.docs.cli_page import inner_commands

ANYWHERE = {"--dsn", "--log-level", "--tz"}
PROGRAMS = {
    "pgsched": ANYWHERE,
    "pgsched check": {"--app"},
    "pgsched dev": {"--app", "--metrics-port", "--web-port"},
    "pgsched mcp": {"--operator-token", "--viewer-token", "--hide-payloads"},
    "pgsched migrate": {"--lock-wait"},
    "pgsched schedule sync": {"--app"},
    "pgsched sync": {"--app"},
    "pgsched web": {
        *("--host", "--port", "--path-prefix", "--trusted-proxies", "--hide-payloads"),
        *("--viewer-token", "--operator-token", "--metrics-token", "--public-url"),
        *("--oidc-issuer", "--oidc-client-id", "--oidc-client-secret", "--oidc-scopes"),
        *("--oidc-roles-claim", "--oidc-operator", "--oidc-viewer", "--oidc-name-claim"),
    },
    "pgsched worker": {
        *("--app", "--queue", "--concurrency", "--transactions", "--processes", "--metrics-port", "--metrics-host"),
        *("--lease", "--poll-interval", "--shutdown-timeout", "--capture-logs", "--listen-dsn", "--otel"),
        *("--http", "--http-allow", "--http-allow-private", "--allow-sql", "--allow-shell"),
    },
}
"""Every option that may be read from the environment, by its command. One more needs a reason: it must set up the
program, and say nothing of a task, a filter, a setting of the database or an answer to a question."""


def all_commands(command: click.Command = commands, path: str = "pgsched") -> list[tuple[str, click.Command]]:
    inner = inner_commands(command).items()
    return [(path, command), *(found for name, one in inner for found in all_commands(one, f"{path} {name}"))]


@pytest.mark.parametrize(("path", "command"), [pytest.param(*one, id=one[0]) for one in all_commands()])
def test_only_options_of_programs_come_from_the_environment(path: str, command: click.Command) -> None:
    context = click.Context(command, info_name=path)
    assert context.auto_envvar_prefix is None
    read = {
        max(one.opts, key=len): one.envvar
        for one in command.params
        if one.envvar is not None or (getattr(one, "allow_from_autoenv", True) and context.auto_envvar_prefix)
    }
    assert set(read) == PROGRAMS.get(path, set())
    for name, variable in read.items():
        assert variable == "PGSCHED_" + name.removeprefix("--").replace("-", "_").upper()


def test_every_listed_command_is_there() -> None:
    assert set(PROGRAMS) <= {path for path, _command in all_commands()}
