"""The server of a test run, and a fresh database on it for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgsched.db.dsn import resolved
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.embedded.spare_databases import create_database, drop_database, ensure_template, list_databases

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "200"}
"""A test's data need not survive a power cut."""
PREFIX = "pgsched_pytest_"
"""Prefix of the names of all databases that are created here."""


def folder_of(run: str) -> Path:
    """Return the folder that the processes of one test run share."""
    # Not pytest's own folder, which is closed to the user who runs a server for root.
    return Path(tempfile.gettempdir()) / f"{PREFIX}{run}"


@contextmanager
def server_of(run: str, dsn: str | None) -> Iterator[str]:
    """The DSN of the test run's server, for a ``with``: the given one, or an embedded one shared by all processes."""
    folder = folder_of(run)
    folder.mkdir(mode=0o755, exist_ok=True)
    if dsn is None:
        with EmbeddedServer.start(folder / "server", options=FAST) as server:
            yield server.dsn
        return
    with resolved(dsn) as server_dsn:
        given = folder / "dsn"
        given.touch(mode=0o600)  # it may contain a password
        given.write_text(dsn)
        yield server_dsn


def template_of(run: str, server: str) -> str:
    """Return the name of the test run's migrated database; the first process creates it."""
    name = f"{PREFIX}{run}_template"
    ensure_template(server, name)
    return name


@contextmanager
def fresh_database(server: str, name: str, *, template: str) -> Iterator[str]:
    """The DSN of a copy of the template, for a ``with`` block, which drops it at its end."""
    dsn = create_database(server, name, template=template)
    try:
        yield dsn
    finally:
        drop_database(server, name)


def clean_up(run: str) -> None:
    """Remove what a test run left behind: its databases on a server that stays, and its folder."""
    folder = folder_of(run)
    given = folder / "dsn"
    if given.exists():
        with resolved(given.read_text()) as dsn:
            for name in list_databases(dsn, f"{PREFIX}{run}_"):
                drop_database(dsn, name)
    elif (folder / "server" / "data" / "postmaster.pid").exists():
        EmbeddedServer.start(folder / "server").close()  # its user was killed: the last process to leave stops it
    shutil.rmtree(folder, ignore_errors=True)
