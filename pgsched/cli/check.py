"""``pgsched check``: finds waiting tasks that the handlers of an app could not run, before it is deployed."""

from __future__ import annotations

import click

from pgsched.app.loading import load_app
from pgsched.cli.options import examples, limit_option, output_option, program_option
from pgsched.cli.output import JSON, TABLE, count, say, say_record, say_table
from pgsched.cli.session import Session, server
from pgsched.ops.payload_check import PayloadCheck


@click.command(epilog=examples("pgsched check --app shop.tasks:app"))
@program_option(
    "--app",
    "apps",
    metavar="MODULE:APP",
    required=True,
    multiple=True,
    help="The app; may be repeated for several apps that run at the same time.",
)
@limit_option(100)
@output_option(TABLE, JSON)
@click.pass_context
def check(context: click.Context, apps: tuple[str, ...], limit: int, output: str) -> None:
    """Find waiting tasks that an app's handlers could not run.

    Run it before the app is deployed. It checks pending and blocked tasks, schedules, and steps that groups have not
    started. Exits with 1 if a payload does not fit its handler or a type has no handler, otherwise with 0.
    """
    session: Session = context.obj
    app, *others = map(load_app, apps)
    with server(session.dsn) as dsn:
        before = app.use(dsn)
        try:
            found = app.check_waiting(*others, limit=limit)
        finally:
            app.use(before)
    say_record(found, _say, output=output)
    context.exit(0 if found.fits else 1)


def _say(found: PayloadCheck) -> None:
    if found.named:
        say_table(
            ("ID", "TYPE", "QUEUE", "STATUS", "PROBLEM"),
            [(one.id, one.task_type, one.queue, one.status, one.fault) for one in found.named],
        )
    if found.misfits > len(found.named):
        say(f"and {found.misfits - len(found.named)} more: raise --limit to list them")
    for one in found.unknown:
        say(f"no handler for {one.task_type!r}: {count(one.tasks, 'task')}, the first is {one.first_id}")
    said = "all payloads fit" if found.fits else f"{count(found.misfits, 'payload')} would not fit"
    say(f"{count(found.checked, 'waiting task')} checked, {said}")
