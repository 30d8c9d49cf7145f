"""A server that answers, but whose disk is full or broken, or that has reached another limit: every face says so."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgsched.client.client import Client
from pgsched.db.error_mapping import RefusedByDatabase, RefusedByServer, fault_of, translate
from pgsched.domain.errors import DatabaseUnavailable, ImpairedDatabase, PermissionRefused
from pgsched.domain.task_spec import TaskSpec
from tests.support.commands import pgsched
from tests.support.tables import database
from tests.support.web_face import web

TROUBLE = {
    "53100": "the disk of the database server is full",
    "53200": "the database server is out of memory",
    "53400": "a limit in the settings of the database server was exceeded",
    "53000": "the database server has reached a limit",
    "58030": "the database server cannot read or write its disk",
    "58P01": "the system that the database server runs on reports an error",
}
SAID = "could not extend file base/5/16384"
LIMITED = 'temporary file size exceeds "temp_file_limit" (16kB)'


def impair(db: psycopg.Connection[dict[str, Any]], state: str) -> None:
    """Let every insert meet this error."""
    db.execute(
        "create function public.impair() returns trigger language plpgsql as "
        f"$$ begin raise exception '{SAID}' using errcode = '{state}'; end $$"
    )
    db.execute("create trigger impaired before insert on pgsched.tasks execute function public.impair()")


@pytest.mark.parametrize("state", TROUBLE)
async def test_client_command_and_rest_say_what_is_wrong_with_the_server(dsn: str, state: str) -> None:
    with database(dsn) as db:
        impair(db, state)
    with Client(dsn) as client:
        for insert in (
            lambda: client.schedule("mail"),
            lambda: client.schedule_many([TaskSpec(task_type="mail")] * 3),
        ):
            with pytest.raises(ImpairedDatabase) as caught:
                insert()
            assert str(caught.value) == f"{TROUBLE[state]}: {SAID}"
            assert isinstance(caught.value, DatabaseUnavailable), "what waits for a server waits for this one too"
    ended = pgsched("task", "add", "mail", dsn=dsn)
    assert (ended.code, ended.error) == (1, f"{TROUBLE[state]}: {SAID}")
    async with web(dsn) as http:
        answer = await http.post("/api/v1/tasks", json={"task_type": "mail"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == f"{TROUBLE[state]}; see the log of the web server", "not the server's own words"


async def test_a_limit_of_temporary_files_names_itself_and_bulk_inserts_are_whole(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.tasks (task_type, payload)"
            " select 'mail', jsonb_build_object('text', repeat(md5(n::text), 20)) from generate_series(1, 3000) n"
        )
        row = db.execute("select current_database() as name").fetchone()
        assert row is not None
        for limit in ("work_mem = '64kB'", "temp_file_limit = '16kB'"):
            db.execute(f'alter database "{row["name"]}" set {limit}')
    with Client(dsn) as client, pytest.raises(ImpairedDatabase, match="temp_file_limit"):
        client.schedule_many([TaskSpec(task_type="many")] * 3000)
    ended = pgsched("task", "list", "--limit", "1000", dsn=dsn)
    assert (ended.code, ended.error) == (1, f"{TROUBLE['53400']}: {LIMITED}")
    async with web(dsn) as http:
        assert (await http.get("/api/v1/tasks", params={"limit": 1000})).status_code == 503
        page = await http.get("/tasks", params={"limit": 1000})
        assert (page.status_code, TROUBLE["53400"] in page.text) == (503, True)
    with database(dsn) as db:
        assert db.execute("select from pgsched.tasks where task_type = 'many'").fetchall() == []


@pytest.mark.parametrize("state", ["53100", "58030", "57P02"])
def test_migrate_fails_in_one_line_and_completes_once_the_disk_has_room(empty_dsn: str, state: str) -> None:
    """57P02 ends the session, as when another session of the server has crashed."""
    with database(empty_dsn) as db:
        db.execute(
            "create function public.impair() returns event_trigger language plpgsql as "
            f"$$ begin raise exception '{SAID}' using errcode = '{state}'; end $$"
        )
        db.execute("create event trigger impaired on ddl_command_start execute function public.impair()")
        ended = pgsched("migrate", dsn=empty_dsn)
        assert ended.code == 1
        assert ended.error == f"{TROUBLE.get(state, 'the database cannot be reached')}: {SAID}"
        db.execute("drop event trigger impaired")
    assert pgsched("migrate", dsn=empty_dsn).code == 0


class _Raised(psycopg.Error):
    """An error as the server raises it in one of its files."""

    def __init__(self, file: str, text: str = "could not open file: Read-only file system") -> None:
        super().__init__(text)
        self._file = file

    @property
    def diag(self) -> Any:
        class Diagnostic:
            source_file = self._file
            message_primary = str(self)
            severity_nonlocalized = "ERROR"

            def __getattr__(self, _name: str) -> None:
                return None

        return Diagnostic()


class _Of(_Raised, psycopg.errors.InsufficientPrivilege):
    pass


class _Lost(_Raised, psycopg.errors.ObjectNotInPrerequisiteState):
    pass


def test_a_parallel_worker_that_died_is_a_server_that_is_gone() -> None:
    """Its SQLSTATE is that of an object in a wrong state."""
    text = "lost connection to parallel worker"
    assert str(translate(_Lost("parallel.c", text))) == f"the database cannot be reached: {text}"
    assert isinstance(translate(_Lost("parallel.c", text)), DatabaseUnavailable)
    assert not isinstance(fault_of(_Lost("parallel.c", text)), RefusedByDatabase)
    assert not isinstance(translate(_Lost("sequence.c", text)), DatabaseUnavailable)
    assert isinstance(fault_of(_Lost("sequence.c", text)), RefusedByDatabase)


def test_a_read_only_disk_is_no_missing_right() -> None:
    """PostgreSQL has one SQLSTATE for both (errcode_for_file_access); they come from different parts of it."""
    assert str(translate(_Of("md.c"))).startswith("the disk of the database server is read-only: ")
    assert isinstance(fault_of(_Of("md.c")), RefusedByServer)
    assert isinstance(translate(_Of("aclchk.c")), PermissionRefused)
    assert not isinstance(fault_of(_Of("aclchk.c")), RefusedByServer)
