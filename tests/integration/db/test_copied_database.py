"""A copy of a database, and what keeps workers from running its tasks a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from pgsched import App, CopiedDatabase
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db.migrations.runner import migrate
from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.roles import login
from tests.support.servers import fresh_database
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

REGISTER = "select pgsched.register_worker(gen_random_uuid(), '{default}', '{mail}', 1)"
APP = """
from pgsched import App
app = App()

@app.task("mail")
async def mail() -> None: ...
"""


@pytest.fixture
def original(dsn: str) -> str:
    """A database that has noted that its tasks belong to it."""
    migrate(dsn)
    return dsn


@pytest.fixture
def copy(server_dsn: str, original: str, database_name: str) -> Iterator[str]:
    """A copy of it on the same server; a dump that is restored anywhere is the same to us."""
    with psycopg.connect(original) as connection:
        template = connection.info.dbname
    with fresh_database(server_dsn, f"{database_name}_copy", template=template) as dsn:
        yield dsn


def state(dsn: str) -> str:
    with Client(dsn) as client:
        return client.database_state().state


def test_migrate_notes_the_database_of_a_fresh_schema_and_keeps_what_it_noted(
    empty_dsn: str, server_dsn: str, database_name: str
) -> None:
    migrate(empty_dsn)
    with database(empty_dsn) as db:
        noted = db.execute("select * from pgsched.database_identity").fetchone()
        here = db.execute("select system_identifier from pg_control_system()").fetchone()
        template = db.info.dbname
    assert noted is not None
    assert here is not None
    assert noted["system_identifier"] == here["system_identifier"]
    with fresh_database(server_dsn, f"{database_name}_copy", template=template) as dsn:
        migrate(dsn)
        with database(dsn) as db:
            assert db.execute("select * from pgsched.database_identity").fetchone() == noted


def test_every_worker_refuses_to_start_in_a_copy_until_somebody_adopts_it(
    copy: str, run_pgsched: PgschedRunner
) -> None:
    said = "this database is a copy: its tasks belong to database "
    (run_pgsched.folder / "mails.py").write_text(APP)
    with database(copy) as db:
        task = insert_task(db, "mail")
        refused = run_pgsched("worker", "--app", "mails:app", dsn=copy)
        assert refused.wait() == 1
        (line,) = refused.stderr.splitlines()
        assert line.startswith(f"pgsched: {said}")
        assert line.endswith("'pgsched database adopt' lets workers run them here")
        with pytest.raises(CopiedDatabase, match=said):
            asyncio.run(App(dsn=copy).worker().start())
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match=said):
            db.execute(REGISTER)
        assert db.execute("select count(*) as n from pgsched.workers").fetchone() == {"n": 0}
        assert task_row(db, task)["status"] == "pending"

        with Client(copy) as client:
            assert client.adopt_database(adopted_by="ada")
            assert not client.adopt_database(), "it is adopted already"
            found = client.database_state()
        assert (found.state, found.problem, found.noted_by) == ("original", None, "ada")
        db.execute(REGISTER)
        run_pgsched("worker", "--app", "mails:app", dsn=copy)
        wait_until(lambda: task_row(db, task)["status"] == "completed", message="the worker runs the task")


def test_original_goes_on_beside_its_copy(original: str, copy: str) -> None:
    assert (state(original), state(copy)) == ("original", "copy")
    with database(original) as db:
        db.execute(REGISTER)


def test_database_of_another_server_is_a_copy_whatever_its_oid(original: str) -> None:
    with database(original) as db:
        db.execute("update pgsched.database_identity set system_identifier = 7")
    assert state(original) == "copy"


def test_renamed_database_is_no_copy(original: str, server_dsn: str, database_name: str) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as admin, psycopg.connect(original) as connection:
        name = connection.info.dbname
        connection.close()
        admin.execute(f'alter database "{name}" rename to "{name}_new"'.encode())
        try:
            assert state(original.replace(name, f"{name}_new")) == "original"
        finally:
            admin.execute(f'alter database "{name}_new" rename to "{name}"'.encode())


def test_hold_keeps_workers_from_starting_and_adopting_ends_it(original: str) -> None:
    async def hold() -> bool:
        async with AsyncClient(original) as client:
            return await client.hold_database(held_by="ada")

    assert asyncio.run(hold())
    assert not asyncio.run(hold()), "it is held already"
    with pytest.raises(
        CopiedDatabase, match=r"^workers have been held back from database .* by ada; 'pgsched database "
    ):
        asyncio.run(App(dsn=original).worker().start())
    with Client(original) as client:
        assert client.adopt_database()
    assert state(original) == "original"


def test_database_that_noted_nothing_lets_workers_start(dsn: str) -> None:
    assert state(dsn) == "unnoted"
    with database(dsn) as db:
        db.execute(REGISTER)
    with Client(dsn) as client:
        assert client.adopt_database()
    assert state(dsn) == "original"


def test_role_that_may_not_read_the_system_identifier_compares_the_oid_alone(
    original: str, copy: str, database_name: str
) -> None:
    for dsn, expected in ((original, "original"), (copy, "copy")):
        with database(dsn) as db, login(dsn, f"pgsched_reader_{database_name}") as reader:
            db.execute("revoke execute on function pg_catalog.pg_control_system() from public")
            db.execute(f"grant usage on schema pgsched to pgsched_reader_{database_name}".encode())
            db.execute(f"grant execute on all functions in schema pgsched to pgsched_reader_{database_name}".encode())
            db.execute(f"grant select on pgsched.database_identity to pgsched_reader_{database_name}".encode())
            with database(reader) as limited:
                found = limited.execute("select * from pgsched.database_state()").fetchone()
            assert found is not None
            assert (found["state"], found["system_identifier"]) == (expected, None)


def test_commands_show_the_state_and_ask_before_a_copy_is_adopted(copy: str) -> None:
    shown = pgsched("database", "show", dsn=copy)
    assert "copy" in shown.stdout
    assert pgsched("database", "show", "--output", "json", dsn=copy).json()["state"] == "copy"
    migrated = pgsched("migrate", dsn=copy)
    assert migrated.code == 0
    assert "pgsched: this database is a copy: " in migrated.stderr
    refused = pgsched("database", "adopt", dsn=copy)
    assert (refused.code, state(copy)) == (2, "copy")
    assert "Run its tasks here? stdin is not a terminal: confirm with --yes" in refused.error
    assert pgsched("database", "adopt", dsn=copy, typed="n\n").code == 1
    assert state(copy) == "copy"
    assert pgsched("database", "adopt", "--yes", dsn=copy).code == 0
    assert state(copy) == "original"
    assert "belong to it already" in pgsched("database", "adopt", dsn=copy).stdout
    assert "'pgsched database adopt' lets them start" in pgsched("database", "hold", dsn=copy).stdout
    assert state(copy) == "held"


def test_worker_asks_on_a_terminal(copy: str) -> None:
    ended = pgsched("worker", "--http", dsn=copy, typed="n\n")
    assert ended.code == 1
    assert "Run its tasks here? [y/N]: " in ended.stderr
    assert state(copy) == "copy"
