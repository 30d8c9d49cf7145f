"""``pgsched web``: serves the dashboard and the REST API."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from typing import Any

import click

from pgsched.cli.options import PORT, examples, program_option
from pgsched.cli.session import Session, server
from pgsched.cli.web_oidc import NO_OIDC, oidc_options, oidc_settings
from pgsched.domain.errors import ConfigError

MISSING = "the web face is not installed: pip install 'pgsched[web]'"
NEEDED = ("fastapi", "uvicorn", "jinja2")


def is_installed() -> bool:
    """Whether the extra ``web`` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


@click.command(epilog=examples("pgsched web --host 0.0.0.0 --port 8080"))
@program_option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to bind.")
@program_option(
    "--port", metavar="N", type=PORT, default=8080, show_default=True, help="The port to bind; 0: any free port."
)
@program_option("--path-prefix", metavar="PATH", default="", help="Serve everything below this path: /jobs.")
@program_option(
    "--trusted-proxies",
    metavar="ADDRESSES",
    default="",
    help="Trust X-Forwarded-For and -Proto from these addresses or networks, separated by commas.",
)
@program_option("--viewer-token", metavar="TOKEN", help="Token for read access. Prefer PGSCHED_VIEWER_TOKEN.")
@program_option("--operator-token", metavar="TOKEN", help="Token for full access. Prefer PGSCHED_OPERATOR_TOKEN.")
@program_option("--metrics-token", metavar="TOKEN", help="Token for /metrics only. Prefer PGSCHED_METRICS_TOKEN.")
@oidc_options
@program_option("--hide-payloads", is_flag=True, help="Hide payloads, results and errors from viewers.")
@click.pass_context
def web(context: click.Context, /, **given: Any) -> None:
    """Serve the dashboard and the REST API.

    It runs until SIGTERM or Ctrl-C. Without tokens it accepts requests from this machine only. For remote access set
    PGSCHED_OPERATOR_TOKEN, PGSCHED_VIEWER_TOKEN or both. `pgsched --dsn [NAME=]DSN --dsn [NAME=]DSN … web` serves
    several databases, each below its name.
    """
    if not is_installed():
        raise ConfigError(MISSING)
    from pgsched.db.databases import read_databases  # imported late: the other commands do not need it
    from pgsched.web.server import run_web
    from pgsched.web.settings import WebSettings

    settings = WebSettings(oidc=oidc_settings(given), **given)
    if settings.oidc is not None and importlib.util.find_spec("authlib") is None:
        raise ConfigError(NO_OIDC)
    session: Session = context.obj
    several = len(session.given_dsns) > 1
    named = read_databases(session.given_dsns) if several else {"": session.dsn}
    with ExitStack() as stack:
        databases = {name: stack.enter_context(server(dsn)) for name, dsn in named.items()}
        code = run_web(databases=databases, settings=settings)
    context.exit(code)
