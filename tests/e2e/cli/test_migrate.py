"""``pgsched migrate``: many at once, twice, as a script; programs and schemas of other versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgsched.db.migrations.runner import program_version
from pgsched.db.sql_files import load_statement, migrations
from tests.support import servers
from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.schema_dump import dump, run_psql
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
from pgsched.app import App

app = App()


@app.task("note")
async def note() -> None:
    pass
"""


@pytest.fixture
def second_dsn(server_dsn: str, database_name: str) -> Iterator[str]:
    """Another database in which no migration has run."""
    with servers.fresh_database(server_dsn, f"{database_name}_second") as fresh:
        yield fresh


def test_ten_at_once_make_one_schema(run_pgsched: PgschedRunner, empty_dsn: str, second_dsn: str) -> None:
    processes = [run_pgsched("migrate", dsn=empty_dsn) for _ in range(10)]
    assert [process.wait() for process in processes] == [0] * 10
    assert [process.stderr for process in processes] == [""] * 10
    applied = re.findall(r"^applied (.+)$", "".join(process.stdout for process in processes), re.MULTILINE)
    assert sorted(applied) == [f"{one.version:04d}_{one.name}" for one in migrations()]
    assert pgsched("migrate", dsn=second_dsn).code == 0
    assert dump(empty_dsn) == dump(second_dsn)


def test_second_migrate_changes_nothing(empty_dsn: str) -> None:
    assert pgsched("migrate", dsn=empty_dsn).code == 0
    before = dump(empty_dsn)
    assert pgsched("migrate", dsn=empty_dsn).stdout == f"the schema is up to date (version {program_version()})\n"
    assert dump(empty_dsn) == before


def test_script_run_by_psql_makes_the_schema_that_migrate_makes(empty_dsn: str, second_dsn: str) -> None:
    script = pgsched("migrate", "--sql").stdout
    run_psql(empty_dsn, script)
    assert pgsched("migrate", dsn=second_dsn).code == 0
    assert dump(empty_dsn) == dump(second_dsn)
    assert pgsched("task", "list", "--json", dsn=empty_dsn).json() == []
    assert pgsched("migrate", dsn=empty_dsn).stdout.startswith("the schema is up to date")


def test_schema_newer_than_the_program_is_refused_in_one_line(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    with database(dsn) as connection:
        connection.execute("insert into pgsched.migrations (version, name) values (9999, 'of_the_future')")
    expected = (
        f"the database's schema is at version 9999, newer than this program's {program_version()}: upgrade pgsched"
    )
    for command in (["migrate"], ["task", "add", "note"], ["task", "list"], ["worker", "list"]):
        ended = pgsched(*command, dsn=dsn)
        assert (command, ended.code, ended.error) == (command, 1, expected)
    worker = run_pgsched("worker", "--app", "mod:app")
    assert (worker.wait(), worker.output) == (1, f"pgsched: {expected}\n")


@pytest.mark.parametrize("kind", ["works", "breaks", "silent"])
def test_newer_schema_is_taken_if_every_later_migration_works_with_the_program(dsn: str, kind: str) -> None:
    ours = program_version()
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.migrations (version, name, works_with) values (9998, 'one', %s), (9999, 'two', %s)",
            (ours, {"works": ours, "breaks": ours + 1, "silent": None}[kind]),
        )
    refusal = f"pgsched: the database's schema is at version 9999, newer than this program's {ours}: upgrade pgsched\n"
    works = kind == "works"
    for command in (["task", "add", "note"], ["task", "list"], ["migrate"]):
        ended = pgsched(*command, dsn=dsn)
        assert (command, ended.code, ended.stderr) == (command, 0 if works else 1, "" if works else refusal)
    if works:
        newer = f"the schema is newer (version 9999) and works with this program (version {ours})\n"
        assert pgsched("migrate", dsn=dsn).stdout == newer
    ended = pgsched("migrate", "--roles", dsn=dsn)  # the rights are those of the newer program
    assert (ended.code, ended.stderr) == (1, refusal)


def test_schema_of_a_program_that_did_not_know_what_works_with_it_is_taken_over(empty_dsn: str) -> None:
    make_older(empty_dsn)
    with database(empty_dsn) as connection:
        connection.execute("alter table pgsched.migrations drop column works_with")
    assert "run 'pgsched migrate'" in pgsched("stats", dsn=empty_dsn).error
    assert pgsched("migrate", dsn=empty_dsn).code == 0
    assert pgsched("stats", dsn=empty_dsn).code == 0


def test_schema_older_than_the_program_is_refused_in_one_line_until_it_is_migrated(
    run_pgsched: PgschedRunner, empty_dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    make_older(empty_dsn)
    expected = (
        f"the database's schema is at version {program_version() - 1}, this program needs {program_version()}: "
        "run 'pgsched migrate'"
    )
    for command in (["task", "add", "note"], ["task", "list"], ["worker", "list"]):
        ended = pgsched(*command, dsn=empty_dsn)
        assert (command, ended.code, ended.error) == (command, 1, expected)
    worker = run_pgsched("worker", "--app", "mod:app", dsn=empty_dsn)
    assert (worker.wait(), worker.output) == (1, f"pgsched: {expected}\n")

    last = migrations()[-1]
    assert pgsched("migrate", dsn=empty_dsn).stdout == f"applied {last.version:04d}_{last.name}\n"
    assert pgsched("task", "add", "note", dsn=empty_dsn).code == 0


def test_every_server_runs_every_kind_of_task_to_its_end(
    server_dsn: str, database_name: str, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    with servers.fresh_database(server_dsn, f"{database_name}_smoke") as dsn:
        assert run_pgsched("migrate", dsn=dsn).wait() == 0
        with database(dsn) as connection:
            rows = connection.execute("""
                insert into pgsched.tasks (task_type, cron_expression, end_date, repeat_interval, repeat_count)
                values ('note', null, null, null, null),
                  ('note', '*/1 * * * * *', now() + interval '3 seconds', null, null),
                  ('note', null, null, '300 milliseconds', 3)
                returning id""").fetchall()
            worker = run_pgsched("worker", "--app", "mod:app", dsn=dsn)
            unfinished = "select id, status, last_error from pgsched.tasks where status <> 'completed'"
            wait_until(lambda: not connection.execute(unfinished).fetchall(), message="all is done")
            assert worker.stop() == 0, worker.output
            once, cron, thrice = (
                connection.execute(
                    "select * from pgsched.executions where task_id = %s order by fencing_token", (row["id"],)
                ).fetchall()
                for row in rows
            )
    assert (len(once), len(thrice)) == (1, 3)
    assert 1 <= len(cron) <= 3
    ticks = [execution["scheduled_for"] for execution in cron]
    assert [tick.microsecond for tick in ticks] == [0] * len(ticks)
    assert sorted(set(ticks)) == ticks
    assert {execution["status"] for execution in once + cron + thrice} == {"completed"}


def make_older(dsn: str) -> None:
    """Bring a database to the version before this program's."""
    with psycopg.connect(dsn) as connection:
        connection.execute(load_statement("create_migrations"))
        for migration in migrations()[:-1]:
            connection.execute(migration.sql)
            connection.execute(
                load_statement("record_migration"), migration._asdict() | {"works_with": migration.works_with}
            )
