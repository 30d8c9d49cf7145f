"""``pgsched migrate``."""

from __future__ import annotations

import click

from pgsched.cli.options import option
from pgsched.cli.output import say
from pgsched.cli.session import Session, server
from pgsched.db import migrate as migrations


@click.command()
@option("--sql", is_flag=True, help="Print the whole schema as SQL instead; no database is touched.")
@click.pass_obj
def migrate(session: Session, sql: bool) -> None:
    """Bring the database's schema to this program's version."""
    if sql:
        say(migrations.migration_script().rstrip("\n"))
        return
    with server(session.dsn) as dsn:
        applied = migrations.migrate(dsn)
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say(f"the schema is up to date (version {migrations.program_version()})")
