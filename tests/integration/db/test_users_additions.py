"""What users add to our tables: foreign keys, triggers, policies, publications, ids of their own; and few rights."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from pgsched import Client, InvalidTask
from pgsched.db.migrations.runner import migrate, migration_script
from pgsched.domain.task_spec import TaskSpec
from tests.support.engine import engine, rows, running_worker
from tests.support.retained import Database, finished, left, old_day, prune_now
from tests.support.roles import login
from tests.support.tables import insert_task, set_dead, task_row
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow

KEEPS_OUT = "a trigger or a row security policy on pgsched.tasks keeps"


# Foreign keys, and triggers that refuse.


def reference(db: Database, *task_ids: int, how: str = "") -> None:
    db.execute(f"create table orders (task_id bigint references pgsched.tasks {how})")  # type: ignore[arg-type]
    for task_id in task_ids:
        db.execute("insert into orders values (%s)", (task_id,))


def refuse_deletion(db: Database, *task_ids: int) -> None:
    ids = ", ".join(map(str, task_ids))
    db.execute(
        "create function keep() returns trigger language plpgsql as "
        f"$$ begin if old.id in ({ids}) then raise exception 'mine'; end if; return old; end $$"  # type: ignore[arg-type]
    )
    db.execute("create trigger keep before delete on pgsched.tasks for each row execute function keep()")


def keep_silently(db: Database, *task_ids: int) -> None:
    ids = ", ".join(map(str, task_ids))
    db.execute(
        "create function keep() returns trigger language plpgsql as "
        f"$$ begin if old.id in ({ids}) then return null; end if; return old; end $$"  # type: ignore[arg-type]
    )
    db.execute("create trigger keep before delete on pgsched.tasks for each row execute function keep()")


def reference_deferred(db: Database, *task_ids: int) -> None:
    reference(db, *task_ids, how="deferrable initially deferred")


def reference_of_another(db: Database, *task_ids: int) -> None:
    """By a table that the owner of the schema may not read."""
    reference(db, *task_ids)
    db.execute("revoke all on orders from public")


HOLDS = [reference, reference_deferred, refuse_deletion, keep_silently, reference_of_another]
Hold = Callable[..., None]
each_hold = pytest.mark.parametrize("hold", HOLDS, ids=lambda hold: hold.__name__)


@each_hold
@pytest.mark.parametrize("archive", [False, True])
def test_what_is_held_stays_alone_and_is_counted(dsn: str, db: Database, hold: Hold, archive: bool) -> None:
    ids = [finished(db, queue="mail") for _ in range(120)]
    hold(db, ids[3], ids[77])
    with Client(dsn) as client:
        client.set_queue("mail", archive=archive)
    for _ in range(2):
        done = prune_now(dsn)
        assert (left(db), done.kept, bool(done.kept_by)) == ([ids[3], ids[77]], 2, True)
    copies = [row["id"] for row in rows(db, "select id from pgsched.archived_tasks")]
    assert sorted(copies) == (sorted(set(ids) - {ids[3], ids[77]}) if archive else [])


def test_with_roles_what_the_owner_may_not_read_is_found_one_by_one(dsn: str, db: Database) -> None:
    migrate(dsn, roles=True)
    ids = [finished(db) for _ in range(60)]
    db.execute("create table orders (task_id bigint references pgsched.tasks)")
    db.execute("insert into orders values (%s)", (ids[5],))
    assert prune_now(dsn).kept == 1
    assert left(db) == [ids[5]]


@each_hold
def test_what_is_held_is_not_written_to_the_file_each_time(dsn: str, db: Database, hold: Hold, tmp_path: Path) -> None:
    ids = [finished(db) for _ in range(20)]
    hold(db, ids[7])
    with Client(dsn) as client:
        for _ in range(2):
            done = client.prune(completed_older_than="0s", allow_short=True, archive_dir=tmp_path)
            assert done.kept == 1
    lines = [line for path in tmp_path.iterdir() for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert (left(db), len(lines)) == ([ids[7]], 19)


@each_hold
def test_dead_letters_and_many_tasks_are_deleted_beside_one_that_is_held(dsn: str, db: Database, hold: Hold) -> None:
    ids = [insert_task(db) for _ in range(10)]
    for task_id in ids:
        set_dead(db, task_id)
    hold(db, ids[4])
    with Client(dsn) as client:
        assert client.purge_dead(all=True) == 9
        assert left(db) == [ids[4]]
        more = [insert_task(db) for _ in range(3)]
        rows(db, "select * from pgsched.change_tasks('delete', %s, false)", [ids[4], *more])
        assert left(db) == [ids[4]]


async def test_a_worker_deletes_beside_what_is_held(dsn: str, db: Database) -> None:
    ids = [finished(db) for _ in range(60)]
    reference(db, ids[10])
    db.execute("update pgsched.settings set retention = interval '0', allow_short = true")
    async with running_worker(dsn):
        await wait_until_async(lambda: left(db) == [ids[10]], timeout=20, message="all but one are deleted")


def test_a_day_that_something_depends_on_is_kept_and_said(dsn: str, db: Database) -> None:
    held = old_day(db)
    free = old_day(db, "missed_ticks")
    db.execute(f"create view mine as select * from pgsched.{held}")  # type: ignore[arg-type]
    with Client(dsn) as client:
        done = client.prune(history_older_than="30d")
    assert (done.history, done.history_kept, done.complete) == ([free], [held], False)


# Rows that are kept out.


@contextmanager
def kept_out(dsn: str, db: Database, how: str) -> Iterator[str]:
    """A database into which no task comes, silently; the DSN of a role that meets it."""
    with ExitStack() as stack:
        if how == "trigger":
            db.execute("create function no() returns trigger language plpgsql as $$ begin return null; end $$")
            db.execute("create trigger no before insert on pgsched.tasks for each row execute function no()")
            yield dsn
            return
        migrate(dsn, roles=True)
        db.execute("alter table pgsched.tasks enable row level security, force row level security")
        db.execute("create policy come on pgsched.tasks for insert with check (true)")
        db.execute("create policy read on pgsched.tasks for select using (task_type <> 'mail')")
        name = f"rls_{dsn.partition('pgsched_test_')[2].partition('&')[0]}"[:60]
        yield stack.enter_context(login(dsn, name, member_of="pgsched_producer"))


def test_schedule_ends_with_an_error_where_a_trigger_keeps_rows_out(dsn: str, db: Database) -> None:
    with kept_out(dsn, db, "trigger") as address, Client(address) as client:
        for key in (None, "k"):
            with pytest.raises(InvalidTask, match=KEEPS_OUT):
                client.schedule("mail", idempotency_key=key)
            with pytest.raises(InvalidTask, match=KEEPS_OUT):
                client.schedule_many([TaskSpec(task_type="mail", idempotency_key=key)])
    db.execute("drop trigger no on pgsched.tasks")
    task_id = insert_task(db)
    db.execute("create trigger no before insert on pgsched.tasks for each row execute function no()")
    db.execute("update pgsched.tasks set status = 'completed', next_run_at = null, completed_at = now()")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=KEEPS_OUT):
        db.execute("select pgsched.run_now(%s)", (task_id,))


def test_schedule_ends_with_an_error_where_policies_hide_rows(dsn: str, db: Database) -> None:
    with kept_out(dsn, db, "policy") as address, psycopg.connect(address, autocommit=True) as connection:
        connection.execute("set statement_timeout = '20s'")
        for key in (None, "k", "k"):
            with pytest.raises((psycopg.errors.IntegrityConstraintViolation, psycopg.errors.InsufficientPrivilege)):
                connection.execute("select pgsched.schedule('mail', idempotency_key => %s::text)", (key,))


async def test_a_group_whose_steps_are_kept_out_does_not_wait_for_them(dsn: str, db: Database) -> None:
    task_id = insert_task(db, "pgsched.group", payload='{"steps": [{"task_type": "mail"}]}', max_attempts=1)
    db.execute("create function no() returns trigger language plpgsql as $$ begin return null; end $$")
    db.execute("create trigger no before insert on pgsched.tasks for each row execute function no()")
    async with engine(dsn) as one:
        await one.work()
    assert task_row(db, task_id)["status"] != "blocked"


# Ids.


def test_an_id_given_by_hand_is_not_in_the_way_of_later_ones(dsn: str, db: Database) -> None:
    with Client(dsn) as client:
        for given in (1, 50, 120, 2_000_000, 2_000_100, 2**62 + 5):
            insert_task(db, id=given)
            insert_task(db)
            client.schedule("mail")
            client.schedule_many([TaskSpec(task_type="mail")] * 3)
        with pytest.raises(psycopg.errors.UniqueViolation):
            insert_task(db, id=50)
        db.execute(
            "insert into pgsched.tasks (id, task_type) select n, 'mail' from generate_series(3000000, 3000100) n"
        )
        assert insert_task(db) == 3000101


# Publications.


def test_everything_can_be_changed_under_a_publication_of_all_tables(dsn: str, db: Database) -> None:
    db.execute("create publication all_of_it for all tables")
    old = []
    for table in ("executions", "execution_logs", "missed_ticks"):
        old.append(old_day(db, table))
        db.execute(f"delete from pgsched.{table}_default")  # type: ignore[arg-type]
    db.execute("select pgsched.make_partitions(12)")
    without = rows(
        db,
        """
        select c.relname from pg_class c
        where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p') and c.relreplident <> 'f'
          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
          and c.relpersistence = 'p'
        """,
    )
    assert [row["relname"] for row in without if row["relname"] not in old] == []
    finished(db)
    with Client(dsn) as client:
        client.set_queue("default", archive=True)
        done = client.prune(completed_older_than="0s", allow_short=True, history_older_than="30d")
        assert (done.complete, left(db)) == (True, [])
        db.execute("delete from pgsched.archived_tasks")


# Days of the history.


@pytest.mark.parametrize("zone", ["UTC+14", "UTC-14", "Asia/Kolkata", "America/St_Johns"])
def test_days_that_were_cut_in_another_zone_never_overlap_and_refuse_nothing(dsn: str, db: Database, zone: str) -> None:
    """As an earlier version cut them in a session of that zone."""
    for row in rows(db, "select part from pgsched.history_days('infinity') where parent = 'executions'"):
        db.execute(f"drop table pgsched.{row['part']}")  # type: ignore[arg-type]
    db.execute("select set_config('timezone', %s, false)", (zone,))
    for ahead in (0, 1, 3):
        (day,) = rows(
            db, "select to_char(now() at time zone interval '0' + %s * interval '1 day', 'YYYYMMDD') as d", ahead
        )
        db.execute(
            f"create table pgsched.executions_{day['d']} partition of pgsched.executions "  # type: ignore[arg-type]
            f"for values from ('{day['d']}') to ('{day['d']}'::timestamptz + interval '1 day')"
        )
    db.execute("set datestyle = 'SQL, DMY'")
    (made,) = rows(db, "select pgsched.make_partitions(7) as n")
    assert made["n"] == 5, rows(db, "select * from pgsched.history_days('infinity')")
    (again,) = rows(db, "select pgsched.make_partitions(7) as n")
    assert again["n"] == 0
    db.execute("set timezone = 'UTC'")
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at, "
        "finished_at) select 1, 'm', 'q', 1, 1, 'completed', now() + n * interval '1 hour', now() "
        "from generate_series(-48, 200) n"
    )
    whole = rows(
        db,
        "select count(*) as n from pgsched.history_days('infinity') "
        "where parent = 'executions' and ends - begins = interval '1 day' and extract(hour from begins) = 0",
    )
    assert whole[0]["n"] >= 3


@pytest.mark.parametrize("settings", ["UTC+14, German", "UTC-14, German", "Asia/Kolkata, SQL"])
def test_days_are_days_of_utc_whatever_the_session_says(dsn: str, db: Database, settings: str) -> None:
    zone, style = settings.split(", ")
    db.execute("select set_config('timezone', %s, false), set_config('datestyle', %s, false)", (zone, style))
    db.execute("select pgsched.make_partitions(15)")
    db.execute("set timezone = 'UTC'")
    odd = rows(
        db,
        "select part from pgsched.history_days('infinity') where ends - begins <> interval '1 day' "
        "or right(part, 8) <> to_char(begins, 'YYYYMMDD')",
    )
    assert odd == []


# Rights.


@pytest.fixture
def role(server_dsn: str, empty_dsn: str) -> Iterator[str]:
    """The DSN of a role that may connect to an empty database, and no more."""
    name = f"few_{empty_dsn.partition('pgsched_test_')[2].partition('&')[0]}"[:60]
    with login(empty_dsn, name) as theirs:
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            database_name = connection.info.dbname
            connection.execute(f'revoke all on database "{database_name}" from public')  # type: ignore[arg-type]
            connection.execute(f'grant connect on database "{database_name}" to "{name}"')  # type: ignore[arg-type]
            connection.execute("revoke all on schema public from public")
            connection.execute(f'create schema pgsched authorization "{name}"')  # type: ignore[arg-type]
        yield theirs


def test_a_schema_that_was_made_beforehand_is_enough(role: str) -> None:
    migrate(role)
    with Client(role) as client:
        ids = client.schedule_many([TaskSpec(task_type="mail", idempotency_key=key) for key in ("a", None, "a", "b")])
        assert len(set(ids)) == 3
        assert client.schedule("mail", idempotency_key="b") == ids[3]
        late = client.schedule_many([TaskSpec(task_type="mail", idempotency_key="c", delay="1h")])
        assert client.get(late[0]).next_run_at is not None


def test_a_schema_that_belongs_to_somebody_else_is_enough_if_we_may_make_things_in_it(
    empty_dsn: str, role: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(role)["user"]
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("alter schema pgsched owner to current_user")
        connection.execute(f'grant usage, create on schema pgsched to "{name}"')  # type: ignore[arg-type]
    migrate(role)
    with Client(role) as client:
        assert client.schedule("mail") == 1


def test_the_script_is_enough_too(role: str) -> None:
    with psycopg.connect(role, autocommit=True) as connection:
        connection.execute("set standard_conforming_strings = off")
        connection.execute(migration_script())  # type: ignore[arg-type]
        connection.execute("insert into pgsched.tasks (task_type, cron_expression) values ('m', '0 8 * * fri')")
