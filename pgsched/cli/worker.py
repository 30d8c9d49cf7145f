"""``pgsched worker``: runs a worker; ``pgsched worker list`` lists them."""

from __future__ import annotations

from collections.abc import Callable

import click

from pgsched.builtin.settings import Builtins
from pgsched.cli.builtin_options import builtin_options
from pgsched.cli.options import program_option
from pgsched.cli.session import DEFAULT_LEVEL, Session, server
from pgsched.cli.workers import list_
from pgsched.domain.settings import CAPTURE_LEVELS, CAPTURE_OFF, MOST_TRANSACTIONS, WorkerSettings

DEFAULTS = WorkerSettings()


@click.group(invoke_without_command=True, subcommand_metavar="[list]")
@program_option(
    "--app", metavar="MODULE:APP", help="The handlers: an App in a module. Without it: the built-in ones alone."
)
@program_option(
    "--queue",
    "queues",
    metavar="NAME[:N][@WEIGHT]",
    multiple=True,
    default=DEFAULTS.queues,
    show_default=True,
    help="A queue to serve, or a pattern as 'mail.*'; at most N of its tasks at once in each process; asked first in a "
    "share of the claims that is proportional to WEIGHT. May be repeated.",
)
@program_option(
    "--concurrency",
    metavar="N",
    type=int,
    default=DEFAULTS.concurrency,
    show_default=True,
    help="Tasks that run at once, in each process.",
)
@program_option(
    "--transactions",
    metavar="N",
    type=int,
    help="Transactional handlers that run at once, in each process, each on a connection of its own.  "
    f"[default: as --concurrency, {MOST_TRANSACTIONS} at most]",
)
@program_option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Worker processes.",
)
@program_option(
    "--metrics-port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help="Serve /metrics, /healthz and /readyz on this port; 0 takes a free one.  [default: none]",
)
@program_option("--metrics-host", default="127.0.0.1", show_default=True, help="The address for --metrics-port.")
@program_option(
    "--lease",
    metavar="SECONDS",
    type=float,
    default=DEFAULTS.lease,
    show_default=True,
    help="A crashed worker's tasks run again after so long.",
)
@program_option(
    "--poll-interval",
    metavar="SECONDS",
    type=float,
    default=DEFAULTS.poll_interval,
    show_default=True,
    help="An idle worker looks so often without having been woken.",
)
@program_option(
    "--shutdown-timeout",
    metavar="SECONDS",
    type=float,
    default=DEFAULTS.shutdown_timeout,
    show_default=True,
    help="Running tasks get so long to finish when the worker is stopped.",
)
@program_option(
    "--capture-logs",
    metavar="LEVEL",
    type=click.Choice([*CAPTURE_LEVELS, CAPTURE_OFF], case_sensitive=False),
    help="Keep what handlers log through Python's logging, from this level on, or off.  [default: the App's, info]",
)
@program_option(
    "--listen-dsn",
    metavar="DSN",
    help="Where to LISTEN: the server itself, when --dsn leads to a pooler, behind which a worker can only poll.  "
    "[default: as --dsn]",
)
@program_option(
    "--otel", is_flag=True, help="Make spans and metrics of OpenTelemetry, sent as the OTEL_* environment says."
)
@builtin_options
@click.pass_context
def worker(
    context: click.Context,
    app: str | None,
    builtins: Callable[[], Builtins],
    queues: tuple[str, ...],
    concurrency: int,
    transactions: int | None,
    processes: int,
    metrics_port: int | None,
    metrics_host: str,
    lease: float,
    poll_interval: float,
    shutdown_timeout: float,
    capture_logs: str | None,
    listen_dsn: str | None,
    otel: bool,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C; or list those that run."""
    if context.invoked_subcommand is not None:
        return
    served = builtins()
    if app is None and not served:
        raise click.UsageError("Missing option '--app': there is no built-in handler to serve either.", context)
    settings = WorkerSettings(
        queues=queues,
        concurrency=concurrency,
        transactions=transactions,
        lease=lease,
        poll_interval=poll_interval,
        shutdown_timeout=shutdown_timeout,
        capture_logs=capture_logs,
        listen_dsn=listen_dsn,
    )
    from pgsched.execution.process_exit import exit_soon  # only here: the other commands start without it
    from pgsched.worker.supervisor import run_worker

    session: Session = context.obj
    with server(session.dsn) as dsn:
        code = run_worker(
            dsn=dsn,
            app_path=app,
            builtins=served,
            settings=settings,
            processes=processes,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            log_level=session.level or DEFAULT_LEVEL,
            otel=otel,
        )
    exit_soon(code)
    context.exit(code)


worker.add_command(list_)
