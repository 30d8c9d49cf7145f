"""``pgsched handler``: the task types that workers have registered handlers for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli.names import nearest
from pgsched.cli.options import type_argument
from pgsched.cli.output import cell, fields, first_line, say
from pgsched.cli.session import lists, shows
from pgsched.db.queries import workers as worker_commands
from pgsched.domain.errors import PgschedError

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.records import HandlerInfo


def defaults_in_words(handler: HandlerInfo) -> str:
    """Describe the options that a handler sets for its tasks: ``max_attempts 2, timeout 00:00:30``."""
    return ", ".join(f"{name} {cell(value)}" for name, value in (handler.defaults or {}).items())


@click.group()
def handler() -> None:
    """List and show the task types that workers have handlers for."""


@handler.command("list")
@lists(
    {
        "TYPE": "task_type",
        "WORKERS": "workers",
        "VERSION": "version",
        "DEFAULTS": lambda one: defaults_in_words(one) or None,
        "RETIRED": "retired_at",
        "DESCRIPTION": lambda one: first_line(one.description),
    },
    empty="no handlers yet: workers register theirs when they start, and 'pgsched sync' does so before",
)
def list_(client: Client) -> list[HandlerInfo]:
    """List the registered task types."""
    return client.handlers()


def _in_words(one: HandlerInfo) -> None:
    say(
        fields(
            [
                ("type", one.task_type),
                ("workers", one.workers),
                ("version", one.version),
                ("versions", ", ".join(str(each["version"] or each["since"]) for each in one.versions) or None),
                ("defaults", defaults_in_words(one) or None),
                ("strict", one.strict),
                ("durable", one.durable),
                ("registered", one.registered_at),
                ("last seen", one.seen_at),
                ("retired", one.retired_at),
                ("payload", one.payload_schema),
                ("result", one.result_schema),
            ]
        )
    )
    if one.description:
        say("")
        say(one.description)


@handler.command()
@type_argument
@shows(_in_words)
def show(client: Client, task_type: str) -> HandlerInfo:
    """Show the handler of a type: its defaults, its versions and the schema of its payload."""
    found = client.database.run(worker_commands.handlers(task_type))
    if not found:
        near = nearest(client, "type", task_type)
        raise PgschedError(f"task_type {task_type!r} is not registered" + (f". Did you mean {near!r}?" if near else ""))
    return found[0]
