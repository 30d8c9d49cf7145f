"""``pgsched check``: which waiting tasks the handlers of an app could not run, before it is deployed."""

from __future__ import annotations

import click

from pgsched.app.loading import load_app
from pgsched.cli.options import json_option, limit_option, program_option
from pgsched.cli.output import count, say, say_record, say_table
from pgsched.cli.session import Session, server
from pgsched.ops.payload_check import PayloadCheck


@click.command()
@program_option(
    "--app",
    "apps",
    metavar="MODULE:APP",
    required=True,
    multiple=True,
    help="The app; may be repeated for several that run beside each other.",
)
@limit_option(100)
@json_option
@click.pass_context
def check(context: click.Context, apps: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Name waiting tasks that an app's handlers could not run, before it is deployed.

    Looks at tasks that are pending or blocked, at schedules, and at the steps that groups have not begun. Exits with 1
    if a payload would not fit or nobody would have a handler, otherwise with 0.
    """
    session: Session = context.obj
    app, *others = map(load_app, apps)
    with server(session.dsn) as dsn:
        before = app.use(dsn)
        try:
            found = app.check_waiting(*others, limit=limit)
        finally:
            app.use(before)
    say_record(found, _say, as_json=as_json)
    context.exit(0 if found.fits else 1)


def _say(found: PayloadCheck) -> None:
    if found.named:
        say_table(
            ("ID", "TYPE", "QUEUE", "STATUS", "PROBLEM"),
            [(one.id, one.task_type, one.queue, one.status, one.fault) for one in found.named],
        )
    if found.misfits > len(found.named):
        say(f"and {found.misfits - len(found.named)} more: --limit says how many are named")
    for one in found.unknown:
        say(f"no handler for {one.task_type!r}: {count(one.tasks, 'task')} of it, the first is {one.first_id}")
    said = "all payloads fit" if found.fits else f"{count(found.misfits, 'payload')} would not fit"
    say(f"{count(found.checked, 'waiting task')} checked, {said}")
