"""``pgsched migrate``: creates and upgrades the schema."""

from __future__ import annotations

import click

from pgsched.cli.options import program_option
from pgsched.cli.output import say
from pgsched.cli.session import Session, server
from pgsched.db.migrations import runner as migrations


@click.command()
@click.option("--sql", is_flag=True, help="Print the whole schema as SQL instead of migrating; needs no database.")
@click.option(
    "--roles", is_flag=True, help="Also create the database roles: pgsched_owner, pgsched_worker and the others."
)
@program_option(
    "--lock-wait",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=migrations.LOCK_WAIT_SECONDS,
    show_default=True,
    help="How long to retry for locks that others hold; no session queues behind them for more than a few seconds.",
)
@click.pass_obj
def migrate(session: Session, sql: bool, roles: bool, lock_wait: float) -> None:
    """Upgrade the database's schema to this program's version."""
    if sql:
        say(migrations.migration_script(roles=roles).rstrip("\n"))
        return
    with server(session.dsn) as dsn:
        applied = migrations.migrate(dsn, roles=roles, lock_wait=lock_wait, on_wait=_tell)
        found = migrations.schema_version(dsn)
    for name in applied:
        say(f"applied {name}")
    if roles:
        say("the roles are there and have their rights")
    elif found > migrations.program_version():
        ours = migrations.program_version()
        say(f"the schema is newer (version {found}) and works with this program (version {ours})")
    elif not applied:
        say(f"the schema is up to date (version {migrations.program_version()})")


def _tell(line: str) -> None:
    click.echo(f"pgsched: {line}", err=True)
