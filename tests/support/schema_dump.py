"""A schema as pg_dump sees it, and scripts as psql runs them."""

from __future__ import annotations

import os
import re
import subprocess

from pgsched.db.embedded.server import packaged_binaries
from tests.support.tables import database


def dump_schema(dsn: str) -> str:
    """The schema as pg_dump sees it."""
    schema = _run("pg_dump", "--schema-only", "--no-owner", dsn)
    # A random word guards a dump against what it holds.
    return re.sub(r"^\\(un)?restrict .*$", "", schema, flags=re.MULTILINE)


def dump(dsn: str) -> str:
    """The schema and what the migrations wrote into it."""
    with database(dsn) as connection:
        versions = connection.execute("select version, name from pgsched.migrations order by version").fetchall()
        zones = connection.execute("select count(*) from pgsched.timezones").fetchall()
    return dump_schema(dsn) + repr((versions, zones))


SHAPE = {
    "columns": """
        select table_name, column_name, data_type, column_default, is_nullable from information_schema.columns
        where table_schema = 'pgsched' and table_name !~ '_[0-9]{8}$' order by 1, 2""",
    "constraints": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'pgsched'::regnamespace and conrelid::regclass::text !~ '_[0-9]{8}$' order by 1, 2""",
    "indexes": """
        select indexname, indexdef from pg_indexes
        where schemaname = 'pgsched' and tablename !~ '_[0-9]{8}$' order by 1""",
    "functions": """
        select oid::regprocedure::text, pg_get_functiondef(oid) from pg_proc
        where pronamespace = 'pgsched'::regnamespace order by 1""",
    "triggers": "select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1, 2",
    "migrations": "select version, name from pgsched.migrations order by 1",
}


def shape(dsn: str) -> dict[str, list[dict[str, object]]]:
    """All that a schema consists of; the history's days aside, which differ with the day."""
    with database(dsn) as db:
        return {name: db.execute(question).fetchall() for name, question in SHAPE.items()}


def run_psql(dsn: str, script: str) -> None:
    _run("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", dsn, script=script)


def _run(program: str, *arguments: str, script: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [str(packaged_binaries() / program), *arguments],
        input=script,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
