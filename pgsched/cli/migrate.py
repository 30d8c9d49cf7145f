"""``pgsched migrate``."""

from __future__ import annotations

import click

from pgsched.cli.options import option
from pgsched.cli.output import say
from pgsched.cli.session import Session, server
from pgsched.db import migrate as migrations


@click.command()
@option("--sql", is_flag=True, help="Print the whole schema as SQL instead; no database is touched.")
@option("--roles", is_flag=True, help="Also make the database roles pgsched_owner, pgsched_worker and so on.")
@click.pass_obj
def migrate(session: Session, sql: bool, roles: bool) -> None:
    """Bring the database's schema to this program's version."""
    if sql:
        say(migrations.migration_script(roles=roles).rstrip("\n"))
        return
    with server(session.dsn) as dsn:
        applied = migrations.migrate(dsn, roles=roles)
    for name in applied:
        say(f"applied {name}")
    if roles:
        say("the roles are there and have their rights")
    elif not applied:
        say(f"the schema is up to date (version {migrations.program_version()})")
