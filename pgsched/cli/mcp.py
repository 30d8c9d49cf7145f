"""``pgsched mcp``: the tools for agents."""

from __future__ import annotations

import importlib.util
from typing import Any

import click

from pgsched.cli.options import PORT, program_option
from pgsched.cli.session import Session, server
from pgsched.cli.web import is_installed
from pgsched.domain.errors import ConfigError

MISSING = "the tools for agents are not installed: pip install 'pgsched[mcp]'"


@click.command()
@program_option(
    "--operator-token", metavar="TOKEN", help="Allow changes. Better set as PGSCHED_OPERATOR_TOKEN.  [default: none]"
)
@program_option(
    "--viewer-token", metavar="TOKEN", help="With --http: token for read access. Better set as PGSCHED_VIEWER_TOKEN."
)
@program_option("--hide-payloads", is_flag=True, help="Hide payloads, results and errors unless changes are allowed.")
@click.option("--name", metavar="NAME", help="Who makes changes, for the audit log.  [default: operator]")
@click.option("--http", is_flag=True, help="Serve streamable HTTP at /mcp, by tokens, instead of stdin and stdout.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="With --http: address to bind.")
@click.option("--port", metavar="N", type=PORT, default=8090, show_default=True, help="With --http: port to bind.")
@click.pass_obj
def mcp(session: Session, /, *, http: bool, name: str | None, **given: Any) -> None:
    """Serve tools for agents by the Model Context Protocol.

    It runs until stdin ends. It is read-only unless an operator token is set.
    """
    if importlib.util.find_spec("mcp") is None or not is_installed():
        raise ConfigError(MISSING)
    from pgsched.web.mcp.server import run_http, run_stdio  # imported late: the other commands do not need it
    from pgsched.web.settings import WebSettings

    settings = WebSettings(**given)
    with server(session.dsn) as dsn:
        if http:
            run_http(dsn, settings=settings)
        else:
            run_stdio(dsn, settings=settings, name=name)
