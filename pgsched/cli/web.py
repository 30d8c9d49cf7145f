"""``pgsched web``: the dashboard and the REST API."""

from __future__ import annotations

import importlib.util

import click

from pgsched.cli.options import program_option
from pgsched.cli.session import Session, server
from pgsched.domain.errors import ConfigError

MISSING = "the web face is not installed: pip install 'pgsched[web]'"
NEEDED = ("fastapi", "uvicorn", "jinja2")


def is_installed() -> bool:
    """Whether the extra ``web`` is there."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


@click.command()
@program_option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to bind.")
@program_option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port to bind; 0 takes a free one.",
)
@program_option("--path-prefix", metavar="PATH", default="", help="Serve all of it below this path, as /jobs.")
@program_option(
    "--trusted-proxies",
    metavar="ADDRESSES",
    default="",
    help="Believe X-Forwarded-For and -Proto of these: addresses or networks, with commas between them.",
)
@program_option("--viewer-token", metavar="TOKEN", help="Who has it may look. Better as PGSCHED_VIEWER_TOKEN.")
@program_option(
    "--operator-token", metavar="TOKEN", help="Who has it may change things. Better as PGSCHED_OPERATOR_TOKEN."
)
@program_option(
    "--metrics-token", metavar="TOKEN", help="Who has it may read /metrics alone. Better as PGSCHED_METRICS_TOKEN."
)
@program_option("--hide-payloads", is_flag=True, help="Show viewers no payloads, results and errors.")
@click.pass_context
def web(
    context: click.Context,
    host: str,
    port: int,
    path_prefix: str,
    trusted_proxies: str,
    viewer_token: str | None,
    operator_token: str | None,
    metrics_token: str | None,
    hide_payloads: bool,
) -> None:
    """Serve the dashboard and the REST API until SIGTERM or Ctrl-C.

    Without tokens only this machine is served. For others set PGSCHED_OPERATOR_TOKEN, PGSCHED_VIEWER_TOKEN or both.
    """
    if not is_installed():
        raise ConfigError(MISSING)
    from pgsched.web.server import run_web  # only here: the other commands start without it
    from pgsched.web.settings import WebSettings

    settings = WebSettings(
        host=host,
        port=port,
        path_prefix=path_prefix,
        trusted_proxies=trusted_proxies,
        viewer_token=viewer_token,
        operator_token=operator_token,
        metrics_token=metrics_token,
        hide_payloads=hide_payloads,
    )
    session: Session = context.obj
    with server(session.dsn) as dsn:
        code = run_web(dsn=dsn, settings=settings)
    context.exit(code)
