"""``pgsched sync``: registers the handlers and schedules of an app, as a step of its deployment."""

from __future__ import annotations

import asyncio

import click

from pgsched.app.loading import load_app
from pgsched.cli.options import examples, output_option, program_option
from pgsched.cli.output import JSON, TABLE, count, say_json, say_table
from pgsched.cli.schedule import SAID as SCHEDULE_SAID
from pgsched.cli.session import Session, server
from pgsched.db.migrations.runner import check_schema
from pgsched.domain.errors import PgschedError
from pgsched.worker.declared_schedules import sync_schedules
from pgsched.worker.registration import Registered, sync_handlers

SAID = {
    "written": "registered",
    "unchanged": "unchanged",
    "gone": "no longer in the code: --prune retires it",
    "retired": "no longer in the code: retired",
}


def _in_words(one: Registered) -> str:
    said = SAID[one.outcome]
    return f"{said}, {count(one.waiting, 'waiting task')} changed" if one.waiting else said


@click.command(epilog=examples("pgsched sync --app shop.tasks:app --prune"))
@program_option("--app", metavar="MODULE:APP", required=True, help="The app.")
@click.option("--prune", is_flag=True, help="Retire handlers and disable schedules that are no longer in the code.")
@click.option(
    "--waiting", is_flag=True, help="Also change waiting tasks that still have the former defaults of their handler."
)
@output_option(TABLE, JSON)
@click.pass_obj
def sync(session: Session, app: str, prune: bool, waiting: bool, output: str) -> None:
    """Register an app's handlers and declared schedules.

    Workers do this when they start; a deployment can do it before. Types that a running worker serves are never
    retired.
    """
    registry = load_app(app).registry
    with server(session.dsn) as dsn:
        check_schema(dsn)
        handlers = asyncio.run(sync_handlers(dsn=dsn, registry=registry, retire=prune, waiting=waiting))
        schedules = asyncio.run(sync_schedules(dsn=dsn, registry=registry, prune=prune))
    refused = [one for one in schedules if one.outcome == "refused"]
    if output == JSON:
        say_json(
            {
                "handlers": [one._asdict() for one in handlers],
                "schedules": [{k: v for k, v in one._asdict().items() if v is not None} for one in schedules],
            }
        )
    else:
        say_table(("HANDLER", "REGISTER"), [(one.task_type, _in_words(one)) for one in handlers], empty="no handlers")
        said = [(str(one), SCHEDULE_SAID[one.outcome]) for one in schedules if one not in refused]
        if said:
            say_table(("SCHEDULE OF", "TABLE"), said, empty="")
    if refused:
        raise PgschedError("; ".join(f"the schedule of {str(one)!r} was refused: {one.reason}" for one in refused))
