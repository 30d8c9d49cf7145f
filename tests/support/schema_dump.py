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
