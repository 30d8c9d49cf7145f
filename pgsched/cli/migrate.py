"""``pgsched migrate``: creates and upgrades the schema."""

from __future__ import annotations

import click

from pgsched.cli.options import examples, program_option
from pgsched.cli.output import say, say_aside, say_done
from pgsched.cli.session import Session, server
from pgsched.cli.several import ask_all
from pgsched.db.migrations import runner as migrations


@click.command(epilog=examples("pgsched --dsn postgresql://owner@db/shop migrate --roles"))
@click.option(
    "--sql", is_flag=True, help="Print the whole schema as SQL instead of migrating; connects to no database."
)
@click.option(
    "--roles", is_flag=True, help="Also create the database roles: pgsched_owner, pgsched_worker and the others."
)
@program_option(
    "--lock-wait",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=migrations.LOCK_WAIT_SECONDS,
    show_default=True,
    help="How long to retry while other sessions hold locks. Other sessions wait for at most a few seconds at a time.",
)
@click.pass_context
def migrate(context: click.Context, sql: bool, roles: bool, lock_wait: float) -> None:
    """Upgrade the database's schema to this program's version.

    If several databases are given, it upgrades each of them.
    """
    session: Session = context.obj
    if sql:
        say(migrations.migration_script(roles=roles).rstrip("\n"))
        return
    if not session.is_several:
        _migrate(session.dsn, roles, lock_wait)
        return

    answers = ask_all(session.shards, lambda name, dsn: _migrate(dsn, roles, lock_wait, f"shard {name}: "))
    answers.report()
    context.exit(answers.code)


def _migrate(given: str, roles: bool, lock_wait: float, place: str = "") -> None:
    with server(given) as dsn:
        applied = migrations.migrate(dsn, roles=roles, lock_wait=lock_wait, on_wait=_say_wait)
        found = migrations.schema_version(dsn)
        problem = migrations.database_problem(dsn)
    for name in applied:
        say_done(f"{place}applied {name}")
    if roles:
        say_done(f"{place}the roles exist and have their rights")
    elif found > migrations.program_version():
        ours = migrations.program_version()
        say_done(f"{place}the schema is newer (version {found}) and works with this program (version {ours})")
    elif not applied:
        say_done(f"{place}the schema is up to date (version {migrations.program_version()})")
    if problem is not None:
        say_aside(f"pgsched: {place}{problem}")


def _say_wait(line: str) -> None:
    say_aside(f"pgsched: {line}")
