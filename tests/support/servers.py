"""The PostgreSQL servers that the tests run on, and fresh databases on them.

Which server, by environment variable, the first that is set:

    PGSCHED_TEST_DSN=postgresql://…     that server; the role must be allowed to create databases
    PGSCHED_TEST_IMAGE=postgres:16      a container of that image, by testcontainers
    PGSCHED_TEST_SERVER=pg14 … pg18     an embedded server of that major version (pg18 when nothing is set), or of the
                                        programs in a folder: /usr/lib/postgresql/15/bin

All pytest-xdist workers of one run share one server: the run has a name and a folder, which the first process
makes and hands on to the workers in the environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgsched.db.embedded.server import EmbeddedServer

FAST = {  # a test's data need not survive a power cut
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
}
_FOLDER, _DSN, _ADMIN = "PGSCHED_TEST_RUN_FOLDER", "PGSCHED_TEST_DSN", "postgres"
_TEMPLATE_LOCK = 0x70677363  # advisory: one worker makes the template, the others wait


# One run of pytest: called by conftest.py in the first process only.


@contextlib.contextmanager
def run_of_tests() -> Iterator[None]:
    """Give the run its folder, and its container if one is asked for; take both away at the end."""
    with contextlib.ExitStack() as stack:
        # Not under pytest's own temporary folder: pytest closes that to the user who runs a server for root.
        folder = Path(tempfile.mkdtemp(prefix="pgsched-tests-", dir=fast_folder()))
        os.environ[_FOLDER] = str(folder)
        stack.callback(os.environ.pop, _FOLDER, None)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_stop_leftovers, folder)
        image = os.environ.get("PGSCHED_TEST_IMAGE")
        if _DSN in os.environ:
            stack.callback(_drop_databases_of_run, os.environ[_DSN], run_name())
        elif image:
            os.environ[_DSN] = stack.enter_context(_container(image))
            stack.callback(os.environ.pop, _DSN, None)
        yield


def fast_folder() -> str | None:
    """Where servers of tests keep their data: in memory if there is room, else the usual temporary folder."""
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 1024**3  # 64 MB in a container
    return memory if roomy and "TMPDIR" not in os.environ else None


@contextlib.contextmanager
def _container(image: str) -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    settings = " ".join(f"-c {name}={value}" for name, value in FAST.items())
    with PostgresContainer(image).with_command(f"postgres {settings}") as container:
        yield container.get_connection_url(driver=None)


def _stop_leftovers(folder: Path) -> None:
    """Stop servers whose worker process was killed: their last holder is whoever comes and goes now."""
    for server in folder.iterdir():
        if (server / "data" / "postmaster.pid").exists():
            major = (server / "data" / "PG_VERSION").read_text().strip()
            EmbeddedServer.start(server, binaries=binaries_of(f"pg{major}")).close()


def folder_of_run() -> Path:
    """Where the run keeps what goes away with it."""
    return Path(os.environ[_FOLDER])


def run_name() -> str:
    return folder_of_run().name.removeprefix("pgsched-tests-")


# Servers.


@contextlib.contextmanager
def default_server() -> Iterator[str]:
    """The DSN of the server that the environment asks for."""
    if dsn := os.environ.get(_DSN):
        with contextlib.closing(administrator(dsn)):
            yield dsn
    else:
        with embedded_server(os.environ.get("PGSCHED_TEST_SERVER", "pg18")) as dsn:
            yield dsn


@contextlib.contextmanager
def embedded_server(server: str) -> Iterator[str]:
    """The DSN of the run's embedded server of a major version, shared by all workers."""
    folder = folder_of_run() / re.sub(r"\W", "_", server)
    with (
        EmbeddedServer.start(folder, options=FAST, binaries=binaries_of(server)) as running,
        contextlib.closing(administrator(running.dsn)),
    ):
        yield running.dsn


def is_installed(server: str) -> bool:
    """Whether a server that can be named is there."""
    try:
        return binaries_of(server) is None or True
    except ModuleNotFoundError:
        return False


def binaries_of(server: str) -> Path | None:
    """The ``bin`` folder of an embedded server; None means pgsched's own choice, PostgreSQL 18."""
    if server == "pg18":
        return None
    if re.fullmatch(r"pg\d+", server):
        binaries = Path(sys.prefix) / "postgres" / server.removeprefix("pg") / "bin"
        if not binaries.is_dir():
            raise ModuleNotFoundError(f"{server} is not installed: python -m tools.postgres_servers {server[2:]}")
        return binaries
    if not (Path(server) / "postgres").is_file():
        raise ValueError(
            f"PGSCHED_TEST_SERVER must be pg14 to pg18 or a folder with PostgreSQL's programs, got {server}"
        )
    return Path(server)


# Databases.


class Administrator:
    """A session for making and dropping databases; kept, because to connect costs as much as to make a database."""

    def __init__(self, server_dsn: str) -> None:
        self._dsn = server_dsn
        self._connection: psycopg.Connection | None = None
        self._version: int | None = None

    def execute(self, statement: sql.Composed) -> None:
        """Run a statement, in a new session where a test has ended the last one."""
        if self._connection is not None:
            try:
                self._connection.execute(statement)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
            else:
                return
        self._connection = psycopg.connect(self._dsn, autocommit=True)
        self._connection.execute(statement)

    @property
    def version(self) -> int:
        """The server's, as libpq counts: 140023 is 14.23."""
        if self._version is None:
            with psycopg.connect(self._dsn) as connection:
                self._version = connection.info.server_version
        return self._version

    def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@cache
def administrator(server_dsn: str) -> Administrator:
    """The one of this process."""
    return Administrator(server_dsn)


def with_database(dsn: str, name: str) -> str:
    """The same server's DSN, as a libpq URI, for another database."""
    settings = {key: str(value) for key, value in conninfo_to_dict(dsn, dbname=name).items() if value is not None}
    return "postgresql:///?" + urlencode(settings, quote_via=quote)


def ensure_template(server_dsn: str, kind: str = "", *, then: Callable[[str], None] | None = None) -> str:
    """The name of the run's database in which the migrations have run; whoever comes first makes it.

    One of a ``kind`` is prepared further: ``then`` is called with its DSN.
    """
    from pgsched.db.migrations.runner import migrate

    name = f"pgsched_template_{run_name()}{kind}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (_TEMPLATE_LOCK,))
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            unfinished = f"{name}_unfinished"
            connection.execute(_drop(unfinished))
            connection.execute(_create(unfinished, version=connection.info.server_version))
            made = with_database(server_dsn, unfinished)
            migrate(made)
            if then is not None:
                then(made)
            with psycopg.connect(made) as session:  # else its copies would be taken for copies of it
                session.execute("delete from pgsched.database_identity")
            connection.execute(
                sql.SQL("alter database {} rename to {}").format(sql.Identifier(unfinished), sql.Identifier(name))
            )
    return name


@contextlib.contextmanager
def fresh_database(server_dsn: str, name: str, *, template: str = "template0") -> Iterator[str]:
    """The DSN of a new database, dropped at the end with whoever is still connected to it."""
    name = f"pgsched_test_{run_name()}_{name}"
    session = administrator(server_dsn)
    session.execute(_create(name, template=template, version=session.version))
    try:
        yield with_database(server_dsn, name)
    finally:
        administrator(server_dsn).execute(_drop(name))


def _create(name: str, *, template: str = "template0", version: int) -> sql.Composed:
    # By copying files, which is the faster way where nothing has to reach a disk, and the only one of PostgreSQL 14.
    strategy = "" if _DSN in os.environ or version < 150000 else " strategy file_copy"
    return sql.SQL("create database {} template {} encoding 'UTF8'" + strategy).format(
        sql.Identifier(name), sql.Identifier(template)
    )


def _drop(name: str) -> sql.Composed:
    return sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))


def _drop_databases_of_run(server_dsn: str, run: str) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        names = connection.execute(
            "select datname from pg_database where starts_with(datname, %s) or starts_with(datname, %s)",
            (f"pgsched_template_{run}", f"pgsched_test_{run}_"),
        ).fetchall()
        for (name,) in names:
            connection.execute(_drop(name))
