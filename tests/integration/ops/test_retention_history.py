"""What is deleted is copied first if that is wished for; the history goes by days."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched import Client
from pgsched.db.retention import RetentionStore
from pgsched.domain.errors import DatabaseUnavailable, PgschedError
from pgsched.domain.interval import Interval
from pgsched.ops import retention
from pgsched.ops.archive import Archive
from pgsched.ops.retention import RetentionOverride
from tests.support.engine import rows
from tests.support.retained import FORTY_DAYS_AGO, Database, finished, left, old_day, prune_now
from tests.support.tables import database

SETTINGS = RetentionOverride()
"""Nothing but what the settings say."""
HISTORY = RetentionOverride(history_older_than=Interval(days=30))


def attempt(db: Database, task_id: int, ago: str = "40 days") -> None:
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
        " finished_at, error) values (%s, 'mail', 'default', 1, 1, 'failed', now() - %s::interval,"
        " now() - %s::interval, e'two\\nlines \"and\\\\more\"')",
        (task_id, ago, ago),
    )


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


# Copies.


def test_archived_row_is_the_row_as_it_was(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        done = finished(db, queue="mail", payload='{"to": "ada"}', tags=["a"], result='{"sent": true}')
        finished(db, queue="other")
        (was,) = rows(db, "select to_jsonb(t) as row from pgsched.tasks t where id = %s", done)
        client.set_settings(retention="0s", allow_short=True)
        client.set_queue("mail", archive=True)
        prune_now(dsn, SETTINGS)
        (copy,) = rows(db, "select to_jsonb(a) - 'archived_at' as row, archived_at from pgsched.archived_tasks a")
        assert copy["row"] == was["row"]
        assert copy["archived_at"] is not None
        assert left(db) == []


def test_archive_has_the_columns_of_tasks_in_their_order(dsn: str) -> None:
    statement = """
        select attname::text as name, atttypid::regtype::text as type from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
        """
    with database(dsn) as db:
        archived = rows(db, statement, "pgsched.archived_tasks")
        assert archived[0]["name"] == "archived_at"
        assert archived[1:] == rows(db, statement, "pgsched.tasks")


def test_files_hold_what_was_deleted_for_their_owner_only(dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "archive"
    with database(dsn) as db, Client(dsn) as client:
        done = finished(db, payload='{"text": "tab\\tquote\\" back\\\\slash ü"}', last_error='line\n"quoted"\\')
        (was,) = rows(db, "select row_to_json(t) as row from pgsched.tasks t")
        day = old_day(db)
        attempt(db, done)
        told = client.prune(completed_older_than="0s", allow_short=True, history_older_than="30d", archive_dir=folder)
        assert left(db) == []
        tasks, history = (Path(path) for path in told.files)
        assert lines(tasks) == [was["row"]]
        assert (tasks.name.split("-")[0], history.name.split("-")[0]) == ("tasks", day)
        assert [(row["task_id"], row["error"]) for row in lines(history)] == [(done, 'two\nlines "and\\more"')]
        assert rows(db, "select from pgsched.executions") == []
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_rows_are_on_the_disk_before_they_are_deleted(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, delete = os.fsync, RetentionStore.delete

    def noted_sync(handle: int) -> None:
        steps.append("synced")
        fsync(handle)

    def noted_delete(self: RetentionStore, *given: Any, **more: Any) -> Any:
        steps.append("deleted")
        return delete(self, *given, **more)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(RetentionStore, "delete", noted_delete)
    with database(dsn) as db:
        finished(db)
    prune_now(dsn, archive=Archive(tmp_path))
    assert steps == ["synced", "synced", "deleted"], "the file, its name in the folder, then the rows"


@pytest.mark.parametrize("broken", ["delete", "commit"])
def test_rows_are_never_in_neither_place(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A delete that failed leaves the rows in the table alone; a commit of unknown end in the file, too."""
    archive = Archive(tmp_path)
    with database(dsn) as db:
        first = finished(db, "2 hours")
        prune_now(dsn, archive=archive)
        second = finished(db)
        delete = RetentionStore.delete

        def fail(self: RetentionStore, *given: Any, **more: Any) -> Any:
            if broken == "commit":
                delete(self, *given, **more)
                db.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and application_name = 'pgsched retention'"
                )
                return (1, 0, 0)
            raise DatabaseUnavailable("it broke")

        monkeypatch.setattr(RetentionStore, "delete", fail)
        with pytest.raises(PgschedError):
            prune_now(dsn, archive=archive)
        assert left(db) == [second]
        (file,) = archive.files
        assert [row["id"] for row in lines(file)] == ([first] if broken == "delete" else [first, second])


# The history.


def test_days_of_the_history_are_dropped_whole(dsn: str) -> None:
    with database(dsn) as db:
        names = [old_day(db, parent) for parent in ("executions", "execution_logs", "missed_ticks")]
        attempt(db, 1)
        attempt(db, 2, "1 hour")
        done = prune_now(dsn, HISTORY)
        assert sorted(done.history) == sorted(names)
        assert done.complete
        assert [row["task_id"] for row in rows(db, "select task_id from pgsched.executions")] == [2]


def test_day_that_just_ended_stays_for_as_long_as_the_setting_says(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        day = old_day(db)
        client.set_settings(history_retention="50d")
        assert prune_now(dsn, SETTINGS).history == []
        client.set_settings(history_retention="38d")
        assert prune_now(dsn, SETTINGS).history == [day]


def test_history_in_no_partition_of_a_day_is_deleted_row_by_row(dsn: str) -> None:
    with database(dsn) as db:
        for ago in ("40 days", "35 days", "20 days"):
            attempt(db, 1, ago)
        db.execute(f"insert into pgsched.execution_logs values (1, 1, 1, {FORTY_DAYS_AGO}, 'info', 'x', null)")
        done = prune_now(dsn, HISTORY)
        assert (done.history, done.history_rows) == ([], 3)
        assert len(rows(db, "select from pgsched.executions")) == 1


def test_day_that_somebody_reads_is_left_for_later_and_nobody_waits_for_long(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DROP_TRIES", 2)
    with database(dsn) as db, database(dsn) as reader:
        day = old_day(db)
        with reader.transaction():
            reader.execute("select count(*) from pgsched.executions")
            done = prune_now(dsn, HISTORY)
            assert (done.history, done.complete) == ([], False)
            attempt(db, 1, "1 hour")  # would wait for ever behind one who waits
        assert prune_now(dsn, HISTORY).history == [day]


def test_only_days_of_the_history_that_are_over_can_be_dropped(dsn: str) -> None:
    with database(dsn) as db:
        day = old_day(db)
        for name, before in ((day, "now() - interval '50 days'"), ("tasks", "now()"), ("executions_default", "now()")):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="is no partition of the history"):
                db.execute(f"select pgsched.drop_history('{name}', {before})")


def test_only_the_day_and_its_table_are_locked_by_a_drop(dsn: str) -> None:
    with database(dsn) as db:
        name = old_day(db)
        db.execute("begin")
        db.execute("select pgsched.drop_history(%s, now())", (name,))
        locked = rows(
            db,
            "select distinct c.relname::text as name from pg_locks l join pg_class c on c.oid = l.relation"
            " where l.pid = pg_backend_pid() and c.relkind in ('r', 'p') and c.relnamespace = 'pgsched'::regnamespace"
            " and l.mode = 'AccessExclusiveLock'",
        )
        db.execute("rollback")
    assert {row["name"] for row in locked} <= {name, "executions", "executions_default"}


def test_a_day_that_is_made_waits_for_no_reader_of_the_history(dsn: str) -> None:
    with database(dsn) as db, database(dsn) as reader:
        db.execute("set statement_timeout = '10s'")
        with reader.transaction():  # as pg_dump does
            reader.execute("select count(*) from pgsched.executions")
            (made,) = rows(db, "select pgsched.make_partitions(8) as n")
            assert made["n"] == 3, "those of the other tables"
            assert rows(db, "select current_setting('lock_timeout') as t") == [{"t": "0"}]
        (made,) = rows(db, "select pgsched.make_partitions(8) as n")
        assert made["n"] == 1


# Durable runs.


@pytest.mark.parametrize("in_partition", [True, False])
def test_steps_of_a_run_under_way_stay_and_those_of_others_go(dsn: str, *, in_partition: bool) -> None:
    with database(dsn) as db, Client(dsn) as client:
        day = old_day(db, "durable_steps") if in_partition else None
        waits, over = client.schedule("order"), finished(db)
        for task in (waits, over):
            db.execute(
                "insert into pgsched.durable_steps (task_id, began_at, tick_number, name, kind, status, started_at, "
                "fencing_token) values (%s, now() - interval '40 days', 1, 'pay', 'step', 'completed', "
                "now() - interval '40 days', 1)",
                (task,),
            )
            db.execute(
                "insert into pgsched.durable_events (task_id, tick_number, name, sent_at) "
                "values (%s, 1, 'approved', now() - interval '40 days')",
                (task,),
            )
        db.execute(
            "insert into pgsched.durable_runs (task_id, tick_number, began_at) "
            "select task_id, 1, began_at from pgsched.durable_steps"
        )
        prune_now(dsn, HISTORY)
        for table in ("durable_steps", "durable_events", "durable_runs"):
            assert rows(db, f"select task_id from pgsched.{table}") == [{"task_id": waits}], table
        assert day is None or rows(db, "select to_regclass(%s) as part", f"pgsched.{day}") == [{"part": None}]
