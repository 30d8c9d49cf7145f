"""``pgsched worker``: runs a worker; its commands list, show, pause, drain and resume running workers."""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pgsched.builtin.settings import Builtins, read_commands
from pgsched.cli.database import run_or_ask
from pgsched.cli.names import completes
from pgsched.cli.options import PORT, PROCESSES, examples, option_group, program_option
from pgsched.cli.output import Columns, cell, fields, say, say_done, say_records
from pgsched.cli.session import DEFAULT_LEVEL, Session, lists, pass_client, server, shows
from pgsched.domain.errors import PgschedError
from pgsched.domain.queue_selector import glob_of
from pgsched.domain.settings import CAPTURE_LEVELS, CAPTURE_OFF, MOST_TRANSACTIONS, WorkerSettings
from pgsched.domain.worker_records import WorkerInfo

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.db.queries.activity import RunningTask

DEFAULTS = WorkerSettings()
COLUMNS: Columns = {
    "HOST": "hostname",
    "PID": "pid",
    "QUEUES": lambda one: ", ".join([*one.queues, *map(glob_of, one.patterns)]),
    "ACTIVE": "running",
    "CONCURRENCY": "concurrency",
    "STARTED": "started_at",
    "LAST HEARTBEAT": "heartbeat_at",
    "STATE": lambda one: state_in_words(one),
    "VERSION": lambda one: one.code_version,
    "TROUBLES": lambda one: ", ".join(dict.fromkeys(trouble.kind for trouble in one.troubles)) or "none",
    "ID": "id",
}
RUNNING: Columns = {"TASK": "id", "TYPE": "task_type", "QUEUE": "queue", "ATTEMPT": "attempt", "STARTED": "started_at"}
NONE_YET = "no workers: start one with 'pgsched worker --app module:app'"


class _Whole(click.types.StringParamType):
    """Text that an environment variable holds as one value, even if it contains spaces."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


builtin_options = option_group(
    program_option(
        "--http/--no-http",
        default=None,
        show_default=False,
        help="Serve pgsched.http: requests to public addresses.  [default: only with --http-allow…]",
    ),
    program_option(
        "--http-allow",
        metavar="NAME",
        multiple=True,
        help="Also allow requests to this network, address or host; may be repeated.",
    ),
    program_option("--http-allow-private", is_flag=True, help="Allow requests to every private and loopback address."),
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


@click.group(
    epilog=examples("pgsched worker --app shop.tasks:app --queue mail --queue 'reports.*:2'"),
    invoke_without_command=True,
    subcommand_metavar="[list|show|pause|drain|resume]",
    context_settings={"show_default": True},
)
@program_option(
    "--app", metavar="MODULE:APP", help="The App with the handlers. Without it, only built-in handlers are served."
)
@program_option(
    "--queue",
    "queues",
    metavar="NAME[:N][@WEIGHT]",
    multiple=True,
    help="A queue to serve, or a pattern as 'mail.*'. At most N of its tasks run at once in each process. Its share of "
    "first claims is proportional to WEIGHT. May be repeated.  [default: default, and the queues that handlers name]",
)
@program_option(
    "--concurrency",
    metavar="N",
    default=DEFAULTS.concurrency,
    help="Maximum number of tasks that run at once in each process.",
)
@program_option(
    "--transactions",
    metavar="N",
    type=int,
    help="Maximum number of transactional handlers that run at once in each process, each on its own connection.  "
    f"[default: --concurrency, up to {MOST_TRANSACTIONS}]",
)
@program_option("--processes", metavar="N", type=PROCESSES, default=1, help="Number of worker processes.")
@program_option(
    "--metrics-port",
    metavar="N",
    type=PORT,
    help="Serve /metrics, /healthz and /readyz on this port; 0: any free port.  [default: none]",
)
@program_option("--metrics-host", default="127.0.0.1", help="The address for --metrics-port.")
@program_option(
    "--lease",
    metavar="SECONDS",
    default=DEFAULTS.lease,
    help="Time after which the tasks of a crashed worker run again.",
)
@program_option(
    "--poll-interval",
    metavar="SECONDS",
    default=DEFAULTS.poll_interval,
    help="Time between polls of an idle worker that nothing wakes.",
)
@program_option(
    "--shutdown-timeout",
    metavar="SECONDS",
    default=DEFAULTS.shutdown_timeout,
    help="Time that running tasks have to finish at shutdown.",
)
@program_option(
    "--capture-logs",
    metavar="LEVEL",
    type=click.Choice([*CAPTURE_LEVELS, CAPTURE_OFF], case_sensitive=False),
    help="Store the lines that handlers log through Python's logging, from this level on, or off.  "
    "[default: the App's, or info]",
)
@program_option(
    "--listen-dsn",
    metavar="DSN",
    help="Where to LISTEN if --dsn leads to a pooler: the server itself. Behind a pooler a worker can only poll.  "
    "[default: --dsn]",
)
@program_option(
    "--otel",
    is_flag=True,
    help="Create OpenTelemetry spans and metrics; the OTEL_* environment variables say where they are exported.",
)
@builtin_options
@click.pass_context
def worker(
    context: click.Context,
    /,
    app: str | None,
    allow_shell: tuple[str, ...],
    processes: int,
    metrics_port: int | None,
    metrics_host: str,
    otel: bool,
    **given: Any,
) -> None:
    """Run a worker; list, show, pause, drain and resume workers.

    Without a command it runs a worker until SIGTERM or Ctrl-C. For several databases it runs --processes for each, and
    one that is down does not affect the others.
    """
    if context.invoked_subcommand is not None:
        return
    allowed = {name: given.pop(name) for name in ("http", "http_allow", "http_allow_private", "allow_sql")}
    served = Builtins(**allowed, allow_shell=read_commands(allow_shell))
    if app is None and not served:
        hint = "give it, or --http, --allow-sql or --allow-shell for built-in handlers"
        raise click.UsageError(f"Missing option '--app': there is no handler to serve; {hint}.", context)
    own_queues = not given["queues"]
    if own_queues:
        del given["queues"]  # the app says which
    settings = WorkerSettings(**given)
    from pgsched.execution.process import exit_soon  # imported late: the other commands do not need it
    from pgsched.worker.supervisor import run_worker

    session: Session = context.obj
    several = session.shards if session.is_several else {"": session.dsn}
    with ExitStack() as stack:
        dsns = {name: stack.enter_context(server(dsn)) for name, dsn in several.items()}
        run = partial(
            run_worker,
            shards=dsns,
            app_path=app,
            builtins=served,
            settings=settings,
            own_queues=own_queues,
            processes=processes,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            log_level=session.level or DEFAULT_LEVEL,
            otel=otel,
        )
        code = run() if session.is_several else run_or_ask(dsns[""], run)
    exit_soon(code)
    context.exit(code)


worker_argument = click.argument("worker_id", metavar="ID", shell_complete=completes("worker"))


def state_in_words(one: WorkerInfo) -> str:
    """Describe what a worker does: ``online``, ``offline``, ``paused``, ``draining``, and what it was asked to do."""
    if not one.alive:
        return "offline"
    asked = {"pause": "paused", "drain": "draining", None: "active"}[one.request]
    if one.state is None or one.state == asked == "active":
        return "online"
    return one.state if one.state == asked else f"{one.state}, soon {asked}"


def _asked(client: Client, one: str, verb: str) -> None:
    ask = {"pause": client.pause_worker, "drain": client.drain_worker, "resume": client.resume_worker}[verb]
    news = ask(one, requested_by=getpass.getuser())
    said = {"pause": "asked to pause", "drain": "asked to drain", "resume": "asked to resume"}[verb]
    say_done(f"worker {one}: {said}" + ("" if news else " already"))


@worker.command()
@worker_argument
@pass_client
def pause(client: Client, worker_id: str) -> None:
    """Ask a worker to claim nothing until it is resumed; it finishes what it has. ID is from pgsched worker list."""
    _asked(client, worker_id, "pause")


@worker.command()
@worker_argument
@pass_client
def drain(client: Client, worker_id: str) -> None:
    """Ask a worker to claim nothing more, finish what it has, and exit with code 0."""
    _asked(client, worker_id, "drain")


@worker.command()
@worker_argument
@pass_client
def resume(client: Client, worker_id: str) -> None:
    """Let a worker claim again that is paused, or that is draining and has not exited."""
    _asked(client, worker_id, "resume")


def _say_troubles(found: list[WorkerInfo]) -> None:
    if not any(one.troubles for one in found):
        return
    say("\nNeeds attention:")
    for one in found:
        for trouble in one.troubles:
            say(cell(f"{one.hostname} {one.pid}: {trouble.kind}: {trouble.detail}"))
    say("'pgsched doctor' explains what to do.")


@worker.command("list")
@lists(COLUMNS, empty=NONE_YET, then=_say_troubles)
def list_(client: Client) -> list[WorkerInfo]:
    """List the worker processes."""
    return client.workers()


class ShownWorker(NamedTuple):
    """A worker and the tasks that it runs."""

    info: WorkerInfo
    tasks: list[RunningTask]

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        return self.info.as_dict() | {"tasks": [one.as_dict() for one in self.tasks]}


def _in_words(shown: ShownWorker) -> None:
    info = shown.info
    named = [(name, getattr(info, of) if isinstance(of, str) else of(info)) for name, of in COLUMNS.items()]
    more = [
        ("pgsched", info.pgsched_version),
        ("types", ", ".join(info.task_types) or None),
        ("requested by", info.requested_by),
    ]
    say(fields((name.lower(), value) for name, value in [*named, *more]))
    _say_troubles([info])
    say()
    say_records(shown.tasks, RUNNING, empty="no running tasks")


@worker.command()
@worker_argument
@shows(_in_words)
def show(client: Client, worker_id: str) -> ShownWorker:
    """Show a worker: its state, queues and types, and the tasks that it runs."""
    found = [one for one in client.workers() if str(one.id) == worker_id]
    if not found:
        raise PgschedError(f"worker {worker_id} does not exist")
    return ShownWorker(found[0], client.running_tasks(found[0].id))
