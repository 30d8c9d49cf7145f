"""From each release to this version: its real programs beside a schema that is migrated step by step, and back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from chaos.fleet import APP, Connection, insert, wait_for_completed
from chaos.invariants import assert_all_completed
from pgsched.db.migrations import runner as module
from pgsched.db.migrations.runner import migrate, program_version
from pgsched.db.sql_files import migrations
from tests.support.commands import pgsched
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.schema_dump import shape
from tests.support.tables import database
from tests.support.waiting import wait_until
from tests.upgrades.releases import RELEASES, Release

OPTIONS = ("worker", "--app", APP, "--lease", "3", "--poll-interval", "0.2", "--concurrency", "5")


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Release:
    found = request.param
    assert isinstance(found, Release)
    return found


@pytest.fixture
def program(release: Release, tmp_path: Path) -> dict[str, str]:
    """The environment that runs the release's own program."""
    return release.unpack(tmp_path / "release")


@pytest.fixture
def old_dsn(empty_dsn: str, program: Mapping[str, str], release: Release) -> str:
    """A database that the release itself has migrated."""
    assert run(program, empty_dsn, "migrate").count("applied") == release.schema
    return empty_dsn


@pytest.fixture
def books(old_dsn: str) -> Iterator[Connection]:
    with database(old_dsn) as connection:
        yield connection


def run(program: Mapping[str, str], dsn: str, *arguments: str) -> str:
    """Run a command of the release to its end; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pgsched", *arguments],
        cwd=program["PYTHONPATH"].split(os.pathsep)[0],  # where Python looks first
        env={**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, **program}
        | {"PGSCHED_DSN": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def steps(dsn: str, since: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Migrate by one version after the other."""
    for version in (one.version for one in migrations() if one.version > since):
        with monkeypatch.context() as limited:
            present = tuple(one for one in migrations() if one.version <= version)
            limited.setattr(module, "migrations", lambda present=present: present)
            assert len(migrate(dsn)) == 1
        yield version


def test_workers_of_a_release_work_on_after_each_step_and_are_replaced_and_nothing_is_lost(
    release: Release,
    program: dict[str, str],
    old_dsn: str,
    books: Connection,
    run_pgsched: PgschedRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_old() -> PgschedProcess:
        return run_pgsched(*OPTIONS, dsn=old_dsn, env=program)

    worker = start_old()
    worker.wait_for_output("worker_started")
    ids: list[int] = []

    def work() -> None:
        """Both kinds of handler, a retry and a schedule, all by whoever runs."""
        ids.extend(insert(books, 20, "brief", "brief_plain"))
        books.execute(
            """
            insert into pgsched.tasks (task_type, payload, repeat_interval, repeat_count)
            values ('brief', '{"number": 1}', interval '20 milliseconds', 2)
            """
        )
        rows = books.execute("select id from pgsched.tasks where schedule_type = 'repeating'").fetchall()
        wait_for_completed(books, len(ids) + len(rows))

    work()
    for version in steps(old_dsn, release.schema, monkeypatch):
        work()
        assert "loop_failed" not in worker.output, f"after {version}: {worker.output}"
        assert "Traceback" not in worker.output, f"after {version}: {worker.output}"
    assert worker.stop() == 0, worker.output

    # One that is started again while the upgrade is under way, and a client.
    worker = start_old()
    worker.wait_for_output("worker_started")
    work()
    ids.append(int(run(program, old_dsn, "task", "add", "brief", "--payload", '{"number": 3}')))
    wait_for_completed(books, len(ids))

    newer = run_pgsched(*OPTIONS, dsn=old_dsn)
    newer.wait_for_output("worker_started")
    work()
    assert worker.stop() == 0, worker.output
    work()
    assert newer.stop() == 0, newer.output
    for output in (worker.output, newer.output):
        assert "Traceback" not in output
        assert "database_error" not in output
    assert_all_completed(books, ids)
    twice = """
        select task_id from pgsched.executions where status = 'completed'
        group by task_id, scheduled_for having count(*) > 1"""
    assert books.execute(twice).fetchall() == []


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_ticks_that_a_worker_of_a_release_ends_are_followed(
    program: dict[str, str], old_dsn: str, books: Connection, run_pgsched: PgschedRunner, overlap: str
) -> None:
    migrate(old_dsn)
    schedule = books.execute(
        """
        insert into pgsched.tasks (task_type, payload, repeat_interval, repeat_count, start_date, on_missed, overlap)
        values ('brief', '{"number": 1}', interval '20 milliseconds', 3, now() + interval '1 second', 'all', %s)
        returning id
        """,
        (overlap,),
    ).fetchone()
    assert schedule is not None
    books.execute(
        """
        insert into pgsched.tasks (task_type, payload, depends_on, dependency_mode)
        values ('brief', '{"number": 2}', %s, 'each')
        """,
        ([schedule["id"]],),
    )
    worker = run_pgsched(*OPTIONS, dsn=old_dsn, env=program)
    runs = """
        select t.status, t.scheduled_for from pgsched.tasks t
        join pgsched.tasks f on f.id = t.parent_id and f.dependency_mode = 'each'"""
    wait_until(
        lambda: [row["status"] for row in books.execute(runs)] == ["completed"] * 3, message="each tick is followed"
    )
    assert len({row["scheduled_for"] for row in books.execute(runs)}) == 3
    assert worker.stop() == 0, worker.output


def test_the_path_leads_to_the_schema_that_is_made_at_once(old_dsn: str, dsn: str) -> None:
    migrate(old_dsn)
    assert shape(old_dsn) == shape(dsn)


def test_programs_of_a_release_go_back_to_a_newer_schema(
    release: Release, program: dict[str, str], old_dsn: str
) -> None:
    migrate(old_dsn)
    said = run(program, old_dsn, "migrate")
    assert said == (
        f"the schema is newer (version {program_version()}) and works with this program (version {release.schema})\n"
    )
    assert run(program, old_dsn, "stats")
    assert pgsched("stats", dsn=old_dsn).code == 0, "and nothing has been taken from it"
