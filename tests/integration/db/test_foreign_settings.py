"""Settings of roles and databases: our sessions set what they rely on, and what an INSERT runs relies on nothing."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chaos.faults.pgbouncer import PgBouncer, missing_pgbouncer
from pgsched import App, Client, DatabaseUnavailable, UnfitDatabase
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import check_schema, migrate
from pgsched.domain.interval import Interval
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.context import Context
from tests.support import servers
from tests.support.engine import rows, running_worker
from tests.support.processes import PgschedRunner
from tests.support.retained import finished
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow

LATER = datetime(2040, 1, 1, 12, tzinfo=UTC)
EVIL = """
create schema evil;
create function evil.now() returns timestamptz language sql as 'select timestamptz ''1999-01-01''';
create function evil.clock_timestamp() returns timestamptz language sql as 'select timestamptz ''1999-01-01''';
create function evil.random() returns float8 language plpgsql as 'begin raise exception ''evil''; end';
create function evil.cardinality(anyarray) returns integer language sql as 'select 7';
create function evil.lower(text) returns text language sql as 'select ''evil''';
create function evil.unnest(anyarray) returns setof text language sql as 'select ''evil''';
create function evil.pg_notify(text, text) returns void language plpgsql as 'begin raise exception ''evil''; end';
create function evil.set_config(text, text, boolean) returns text language sql as 'select ''evil''';
create function evil.count(text) returns bigint language sql as 'select 7';
create function evil.nextval(regclass) returns bigint language sql as 'select 7';
create function evil.same(text, text) returns boolean language sql as 'select false';
create operator evil.= (leftarg = text, rightarg = text, function = evil.same);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.same);
create operator evil.~~ (leftarg = text, rightarg = text, function = evil.same);
create function evil.after(timestamptz, timestamptz) returns boolean language sql as 'select false';
create operator evil.> (leftarg = timestamptz, rightarg = timestamptz, function = evil.after);
create domain evil.text as pg_catalog.text check (value is null);
create table evil.tasks (id int);
create table evil.pg_class (oid int);
"""
SETTINGS = [
    ("standard_conforming_strings", "off"),
    ("array_nulls", "off"),
    ("DateStyle", "German"),
    ("DateStyle", "SQL, DMY"),
    ("DateStyle", "Postgres, MDY"),
    ("IntervalStyle", "sql_standard"),
    ("IntervalStyle", "postgres_verbose"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC+14"),
    ("TimeZone", "Asia/Kolkata"),
    ("TimeZone", "Pacific/Kiritimati"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("client_encoding", "LATIN1"),
    ("client_encoding", "SQL_ASCII"),
    ("statement_timeout", "20ms"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "10ms"),
    ("idle_session_timeout", "300ms"),
    ("search_path", "evil, pg_catalog"),
    ("search_path", "pg_temp, evil, pg_catalog"),
    ("transform_null_equals", "on"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("xmlbinary", "hex"),
    ("row_security", "off"),
    ("check_function_bodies", "off"),
    ("quote_all_identifiers", "on"),
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_indexscan", "off"),
    ("enable_nestloop", "off"),
    ("work_mem", "64kB"),
    ("temp_buffers", "800kB"),
    ("jit_above_cost", "0"),
    ("session_replication_role", "replica"),
    ("client_min_messages", "error"),
]
ALL = {
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "UTC+14",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "client_encoding": "LATIN1",
    "search_path": "evil, pg_catalog",
    "transform_null_equals": "on",
    "extra_float_digits": "-15",
    "row_security": "off",
    "quote_all_identifiers": "on",
    "plan_cache_mode": "force_custom_plan",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "work_mem": "64kB",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "50ms",
}
NOT_FOR_INSERTS = ("default_transaction_read_only", "session_replication_role", "statement_timeout")
"""A session that only reads, or has no triggers, is its owner's wish; so is the time that a statement may take."""


def set_for_database(dsn: str, settings: dict[str, str]) -> None:
    """Give every new session of the test's database these settings."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(EVIL)
        connection.execute("grant usage on schema evil to public")
        for name, value in settings.items():
            words = value.split(", ") if name == "search_path" else [value]
            connection.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    sql.Identifier(connection.info.dbname),
                    sql.Identifier(name),
                    sql.SQL(", ").join(map(sql.Literal, words)),
                )
            )


def app_of() -> App:
    app = App()

    @app.task("mail", timeout=30)
    async def mail(text: str, ctx: Context) -> dict[str, Any]:
        ctx.log(text, share=0.1)
        ctx.progress({"text": text})
        return {"said": text, "nothing": None}

    @app.task("entry", transactional=True)
    async def entry(ctx: Context) -> str:
        await ctx.connection.execute("select pg_catalog.pg_sleep(0.01)")
        await asyncio.sleep(0.1)  # longer than a transaction may be idle by the strictest of the settings
        await ctx.connection.execute("select 1")
        return "written"

    @app.task("fails", max_attempts=2)
    async def fails() -> None:
        raise RuntimeError("kein Glück €")

    return app


@contextmanager
def sober(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A session of the test's own that nothing was done to."""
    options = "-c search_path=public -c timezone=UTC -c datestyle=ISO -c standard_conforming_strings=on"
    options += " -c default_transaction_read_only=off -c statement_timeout=0 -c client_encoding=UTF8"
    options += " -c idle_session_timeout=0 -c default_transaction_isolation=read\\ committed"
    options += " -c session_replication_role=origin -c lock_timeout=0 -c enable_indexscan=on"
    with psycopg.connect(dsn, autocommit=True, options=options, row_factory=psycopg.rows.dict_row) as connection:
        yield connection


def insert_plainly(dsn: str) -> int:
    """Insert by SQL alone, in a session with the settings of the database; returns how many tasks."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (
            """insert into pgsched.tasks (task_type, payload) values ('mail', '{"text": "plain"}')""",
            """insert into pgsched.tasks (task_type, payload, jitter) values ('mail', '{"text": "j"}', '1 ms')""",
            "insert into pgsched.tasks (task_type, cron_expression) values ('never', '0 8 * * FRI')",
            "insert into pgsched.tasks (task_type, cron_expression, timezone) values ('never', '@DAILY', 'Asia/Tokyo')",
            "insert into pgsched.tasks (task_type, repeat_interval) values ('never', '1 day')",
            """insert into pgsched.tasks (task_type, payload)
               values ('pgsched.group', '{"steps": [{"task_type": "mail", "payload": {"text": "step"}}]}')""",
            """select pgsched.schedule('mail', '{"text": "called"}')""",
            """select pgsched.limit_queue('limited', rate => 100, per => '1 day')""",
            "insert into pgsched.tasks (task_type, depends_on)"
            " select 'never', array[pg_catalog.min(id)] from pgsched.tasks",
        ):
            connection.execute(statement)
        with pytest.raises(psycopg.Error, match="timezone must be a name"):
            connection.execute(
                "insert into pgsched.tasks (task_type, cron_expression, timezone) values ('x', '0 8 * * *', 'Mars')"
            )
        with pytest.raises(psycopg.Error, match="minute must be between 0 and 59"):
            connection.execute("insert into pgsched.tasks (task_type, cron_expression) values ('x', '99 8 * * *')")
    return 4


async def use_everything(dsn: str, tmp_path: Path, *, inserts: bool = True, server: str | None = None) -> None:
    """Schedule, run, read, delete: by every face; ``server`` is the way to it without a pooler."""
    server = server or dsn
    plain = insert_plainly(dsn) if inserts else 0
    app = app_of()
    with Client(dsn) as client:
        sent = [
            client.schedule("mail", {"text": "grün, 10 €"}, name="Grüße €", tags=["€"]),
            *client.schedule_many([TaskSpec(task_type="mail", payload={"text": "viele €"})] * 3),
            *client.schedule_many(
                [TaskSpec(task_type="mail", payload={"text": "k €"}, idempotency_key=f"k{n}") for n in range(3)]
            ),
            client.schedule("entry"),
        ]
        fails = client.schedule("fails", backoff_delay=0.01, max_attempts=2)
        later = client.schedule("mail", {"text": "x"}, at=LATER, timeout="1mo")
        assert (client.get(later).scheduled_for, client.get(later).timeout) == (LATER, Interval(months=1))
        soon = client.schedule_many([TaskSpec(task_type="never", delay="1h")])[0]
        task = client.get(soon)
        assert task.scheduled_for is not None
        assert timedelta(minutes=59) < task.scheduled_for - task.created_at < timedelta(minutes=61)
        async with running_worker(dsn, app.registry, poll_interval=0.2):
            with sober(server) as db:
                await wait_until_async(
                    lambda: (
                        not rows(
                            db,
                            "select from pgsched.tasks where task_type <> 'never' and id <> %s "
                            "and status in ('pending', 'running', 'blocked') limit 1",
                            later,
                        )
                    ),
                    timeout=30,
                    message="everything has ended",
                )
                attempts = rows(db, "select status, count(*) as n from pgsched.executions group by 1 order by 1")
                assert attempts[0] == {"status": "completed", "n": len(sent) + plain + (1 if inserts else 0)}
                assert attempts[1] == {"status": "failed", "n": 2}
        first = client.get(sent[0])
        assert (first.status, first.task_name, first.tags) == ("completed", "Grüße €", ["€"])
        assert first.result == {"said": "grün, 10 €", "nothing": None}
        assert client.get(fails).last_error is not None
        assert "kein Glück €" in str(client.get(fails).last_error)
        assert [line.message for line in client.logs(sent[0])] == ["grün, 10 €"]
        with sober(server) as db:
            finished(db, ago="50 days")
            rows(db, "select pgsched.make_partitions(0)")
        done = client.prune(completed_older_than="0s", allow_short=True, archive_dir=tmp_path / "archive")
        assert (done.kept, done.complete) == (0, True)
        assert {f.check for f in client.doctor().findings} <= {
            "role_settings",
            "durability", "dead_letters", "no_worker", "unserved_queues", "unknown_types", "read_only", "late_starts",
            "stalled_schedules", "pooler",
        }  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SETTINGS, ids=[f"{name} {value}" for name, value in SETTINGS])
async def test_each_setting_of_the_database_changes_nothing(dsn: str, tmp_path: Path, name: str, value: str) -> None:
    set_for_database(dsn, {name: value})
    await use_everything(dsn, tmp_path, inserts=name not in NOT_FOR_INSERTS)


async def test_all_settings_together_change_nothing(dsn: str, tmp_path: Path) -> None:
    set_for_database(dsn, ALL)
    await use_everything(dsn, tmp_path)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_a_database_that_cannot_hold_every_text_is_refused_in_one_line(
    server_dsn: str, database_name: str, encoding: str, run_pgsched: PgschedRunner, dsn: str
) -> None:
    name = f"pgsched_test_{servers.run_name()}_{database_name}_{encoding.lower()}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            f"create database {name} template template0 encoding '{encoding}' locale 'C'"  # type: ignore[arg-type]
        )
    address = servers.with_database(server_dsn, name)
    said = f"the database '{name}' has the encoding {encoding}, which cannot hold every text"
    try:
        asked: tuple[Callable[[], object], ...] = (
            lambda: migrate(address),
            lambda: check_schema(address),
            lambda: Client(address).stats(),
        )
        for refuse in asked:
            with pytest.raises(UnfitDatabase, match=said):
                refuse()
        command = run_pgsched("--dsn", address, "migrate")
        assert command.wait() == 1
        assert said in command.stderr
        assert len(command.stderr.strip().splitlines()) == 1
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
@pytest.mark.parametrize("path", ["evil, pg_catalog", "public"])
def test_a_borrowed_connection_may_have_any_encoding_and_path(dsn: str, encoding: str, path: str) -> None:
    set_for_database(dsn, {"standard_conforming_strings": "off", "array_nulls": "off", "DateStyle": "German"})
    specs = [TaskSpec(task_type="mail", payload={"text": "10 €"}, name="€", idempotency_key=key) for key in (None, "€")]
    specs.append(TaskSpec(task_type="mail", delay="1h", tags=["€"]))
    with Client(dsn) as client:
        with psycopg.connect(dsn) as connection:
            connection.execute("select set_config('search_path', %s, false)", (path,))
            connection.execute(f"set client_encoding = '{encoding}'")  # type: ignore[arg-type]
            ids = [
                client.schedule("mail", {"text": "10 €"}, name="€", connection=connection),
                *client.schedule_many(specs, connection=connection),
            ]
        assert [client.get(task_id).task_name for task_id in ids] == ["€", "€", "€", None]
        assert [client.get(task_id).payload.get("text") for task_id in ids] == ["10 €"] * 3 + [None]
        assert client.get(ids[3]).tags == ["€"]
        assert client.get(ids[3]).next_run_at is not None


@pytest.mark.skipif(missing_pgbouncer() is not None, reason=str(missing_pgbouncer()))
async def test_all_settings_together_change_nothing_behind_a_pooler(dsn: str, tmp_path: Path) -> None:
    if not str(conninfo_to_dict(dsn).get("host")).startswith("/"):
        pytest.skip("PgBouncer of the tests needs a server on a unix socket")
    # Through it pgsched cannot set a session's timeouts: a busy machine needs more than 50 ms between two statements.
    timeouts = {"statement_timeout": "5s", "idle_in_transaction_session_timeout": "5s"}
    set_for_database(dsn, ALL | {"default_transaction_read_only": "on"} | timeouts)
    with PgBouncer(dsn, size=4) as pooler:
        await use_everything(pooler.dsn, tmp_path, inserts=False, server=dsn)


async def test_plain_inserts_in_serializable_transactions_do_not_fail_because_of_idle_workers(dsn: str) -> None:
    set_for_database(dsn, {"default_transaction_isolation": "serializable"})
    app = app_of()
    async with running_worker(dsn, app.registry, poll_interval=0.05):
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(200):
                connection.execute(
                    "insert into pgsched.tasks (task_type, payload) values ('mail', '{\"text\": \"x\"}')"
                )
        with sober(dsn) as db:
            await wait_until_async(
                lambda: not rows(db, "select from pgsched.tasks where status <> 'completed' limit 1"),
                message="all have run",
            )


def test_a_session_that_somebody_made_read_only_by_hand_is_left_as_it_is(dsn: str) -> None:
    """In the DSN, as for a whole server: only what a role or a database says is no more than a default."""
    address = make_conninfo(dsn, options="-c default_transaction_read_only=on")
    with Client(address) as client, pytest.raises(DatabaseUnavailable, match="takes no changes"):
        client.schedule("mail")


@pytest.fixture
def turkish_dsn(tmp_path: Path) -> Iterator[str]:
    """A database of a server with ICU, as Debian's packages have it."""
    for programs in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if not (programs / "initdb").exists() or int(programs.parent.name) < 15:
            continue
        with (
            tempfile.TemporaryDirectory(prefix="pgsched-icu-", dir=servers.fast_folder()) as folder,
            EmbeddedServer.start(Path(folder) / "data", options=servers.FAST, binaries=programs) as server,
        ):
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute(
                    "create database turkish template template0 encoding 'UTF8' "
                    "locale_provider icu icu_locale 'tr-TR' locale 'C'"
                )
            yield servers.with_database(server.dsn, "turkish")
            return
    pytest.skip("no server with ICU is installed (Debian: apt-get install postgresql)")


def test_cron_words_are_read_alike_in_turkish(turkish_dsn: str) -> None:
    """Where the small letter of I has no dot."""
    migrate(turkish_dsn)
    with database(turkish_dsn) as db:
        (row,) = rows(db, "select lower('FRI') as word")
        assert row["word"] != "fri"
        for words in ("0 8 * * FRI", "@DAILY", "0 8 1 JUN,JUL MON"):
            insert_task(db, cron_expression=words)


CASE = re.compile(r"(?<![.\w])(upper|lower|initcap)\((?!span\))(?!(t\.cron_)?expression collate)|~~?\*|ilike|citext")


def test_no_function_asks_for_the_letters_of_the_database_s_language(dsn: str) -> None:
    with database(dsn) as db:
        sources = rows(db, "select proname, prosrc from pg_proc where pronamespace = 'pgsched'::regnamespace")
        assert [source["proname"] for source in sources if CASE.search(source["prosrc"])] == []
        (cron,) = [source["prosrc"] for source in sources if source["proname"] == "read_cron"]
    assert 'lower(expression collate "C")' in cron
