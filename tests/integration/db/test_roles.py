"""What each database role may do and may not: by the catalogue, by hand, and by every face of pgsched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched import Client
from pgsched.db.migrations.runner import migrate, program_version
from pgsched.db.sql_files import load_statement, migrations
from pgsched.domain.errors import PermissionRefused, TaskNotFound
from pgsched.domain.task_spec import TaskSpec
from pgsched.web import WebSettings
from tests.support import servers
from tests.support.commands import pgsched
from tests.support.doc_examples import tables
from tests.support.processes import CHECKOUT, PgschedRunner
from tests.support.roles import ROLES, login
from tests.support.schema_dump import dump, run_psql
from tests.support.tables import database, insert_task, set_dead, task_row
from tests.support.waiting import wait_until
from tests.support.web_face import web

pytestmark = pytest.mark.slow

As = Callable[[str], str]
"""The DSN of somebody who is a member of this role."""

REFUSED = "the database's role may not do this: permission denied for "


@pytest.fixture(scope="module")
def template_with_roles(server_dsn: str, template_database: str) -> Iterator[str]:
    """The name of a database on which ``pgsched migrate --roles`` was run."""
    name = f"roles_{id(object()):x}"
    with servers.fresh_database(server_dsn, name, template=template_database) as dsn:
        migrate(dsn, roles=True)
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "delete from pgsched.database_identity"
            )  # else its copies would be taken for copies of it
        yield psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]  # type: ignore[misc]


@pytest.fixture
def dsn(server_dsn: str, template_with_roles: str, database_name: str) -> Iterator[str]:
    """The DSN of a fresh database with roles, as its superuser."""
    with servers.fresh_database(server_dsn, f"{database_name}_roles", template=template_with_roles) as fresh:
        yield fresh


@pytest.fixture
def somebody(dsn: str, database_name: str) -> Iterator[As]:
    """Somebody who logs in as a member of a role: ``somebody("pgsched_producer")``."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def as_member(role: str) -> str:
            if role not in made:
                made[role] = stack.enter_context(login(dsn, f"{role}_{database_name}", member_of=role))
            return made[role]

        yield as_member


# By the catalogue.


def documented(heading: str) -> list[dict[str, str]]:
    return next(one for one in tables(CHECKOUT / "docs" / "security.md") if one.heading == heading).rows


RIGHTS = """
select c.relname as name, r.rolname as role, coalesce(string_agg(p.right || case
    when has_table_privilege(r.oid, c.oid, p.right) then '' else '*' end, ', ' order by p.place)
  filter (where has_table_privilege(r.oid, c.oid, p.right)
    or p.right <> 'delete' and has_any_column_privilege(r.oid, c.oid, p.right)), '') as rights
from pg_class c
cross join pg_roles r
cross join unnest(array['select', 'insert', 'update', 'delete']) with ordinality as p("right", place)
where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and r.rolname = any(%s)
group by c.relname, r.rolname
"""


def test_rights_on_tables_are_those_of_the_page(dsn: str) -> None:
    with database(dsn) as connection:
        found = {
            (row["name"], row["role"]): row["rights"] for row in connection.execute(RIGHTS, (list(ROLES),)).fetchall()
        }
    assert found == {
        (row["table"], role): row[role.removeprefix("pgsched_")] for row in documented("Tables") for role in ROLES
    }


def test_no_role_may_truncate_reference_or_trigger_or_make_anything(dsn: str) -> None:
    with database(dsn) as connection:
        found = connection.execute(
            """
            select r.rolname, c.relname
            from pg_class c cross join pg_roles r
            where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p') and r.rolname = any(%s)
              and (has_table_privilege(r.oid, c.oid, 'truncate, references, trigger')
                or has_any_column_privilege(r.oid, c.oid, 'references')
                or c.relispartition and has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
                or has_schema_privilege(r.oid, c.relnamespace, 'create'))
            """,
            (list(ROLES),),
        ).fetchall()
    assert found == []


def test_public_columns_are_those_of_the_page(dsn: str) -> None:
    with database(dsn) as connection:
        found = {
            right: [
                row["name"]
                for row in connection.execute(
                    """
                    select attname::text as name from pg_attribute
                    where attrelid = 'pgsched.tasks'::regclass and attnum > 0 and not attisdropped
                      and has_column_privilege('pgsched_producer', attrelid, attnum, %s)
                    """,
                    (right,),
                )
            ]
            for right in ("insert", "select", "update")
        }
    page = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    said = re.search(r"^The public columns of `pgsched.tasks` are (.+?)\.$", page, re.MULTILINE | re.DOTALL)
    assert said is not None
    assert sorted(found["insert"]) == sorted(re.findall(r"`(\w+)`", said[1]))
    assert (found["select"], found["update"]) == (["id"], [])


def test_functions_are_those_of_the_page(dsn: str) -> None:
    with database(dsn) as connection:
        found: dict[str, set[str]] = {role: set() for role in (*ROLES, "public")}
        for row in connection.execute(
            """
            select p.proname::text as name,
              case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role
            from pg_proc p cross join lateral aclexplode(p.proacl) a
            where p.pronamespace = 'pgsched'::regnamespace and a.grantee <> p.proowner
            """
        ):
            found[row["role"]].add(row["name"])
    said: dict[str, set[str]] = {role: set() for role in (*ROLES, "public")}
    for row in documented("Functions"):
        for role in row["for"].split(", "):
            said["public" if role == "everybody" else f"pgsched_{role}"] |= set(row["functions"].split(", "))
    assert found == said


UNSAFE = """
select p.oid::regprocedure::text as name
from pg_proc p join pg_roles r on r.oid = p.proowner
where p.pronamespace = 'pgsched'::regnamespace and p.prosecdef
  and (not coalesce('search_path=pg_catalog, pg_temp' = any(p.proconfig), false) or r.rolsuper
    or p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0))
"""


def test_function_that_runs_as_owner_has_a_fixed_path_no_superuser_and_no_everybody(dsn: str) -> None:
    with database(dsn) as connection:
        assert connection.execute(UNSAFE).fetchall() == []
        (count,) = connection.execute(
            "select count(*) as n from pg_proc where prosecdef and pronamespace = 'pgsched'::regnamespace"
        ).fetchall()
        assert count["n"] == 58
        # The check finds each of the faults by itself.
        connection.execute("alter function pgsched.cancel reset search_path")
        connection.execute("alter function pgsched.retry owner to current_user")
        connection.execute("grant execute on function pgsched.enable to public")
        found = {row["name"] for row in connection.execute(UNSAFE)}
    assert found == {"pgsched.cancel(bigint)", "pgsched.retry(bigint,jsonb)", "pgsched.enable(bigint,boolean)"}


# By hand.


def refused(dsn: str, *statements: str) -> None:
    """Each is refused for want of a right, and for nothing else."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            pytest.fail(f"not refused: {statement}")


def test_producer_inserts_every_kind_of_task(dsn: str, somebody: As) -> None:
    with database(somebody("pgsched_producer")) as connection:
        first = insert_task(connection, payload='{"a": 1}', priority=9, tags=["x"])
        connection.execute("insert into pgsched.tasks (task_type, repeat_interval) values ('mail', '1 hour')")
        connection.execute(
            "insert into pgsched.tasks (task_type, cron_expression, timezone) values ('m', '0 8 * * *', 'Europe/Paris')"
        )
        insert_task(connection, depends_on=[first], on_dependency_dead="run")
        insert_task(connection, "pgsched.group", payload='{"steps": [{"task_type": "mail"}]}')
        with connection.cursor() as cursor, cursor.copy("copy pgsched.tasks (task_type, payload) from stdin") as copy:
            copy.write_row(("mail", "{}"))
    with database(dsn) as connection:
        rows = connection.execute("select status::text, count(*) from pgsched.tasks group by 1").fetchall()
        assert {row["status"]: row["count"] for row in rows} == {"pending": 5, "blocked": 1}
        assert task_row(connection, first)["observed"]


def test_producer_calls_the_functions(dsn: str, somebody: As) -> None:
    with database(somebody("pgsched_producer")) as connection:
        (one, same) = (
            connection.execute("select pgsched.schedule('mail', idempotency_key => 'k') as id").fetchone() for _ in "12"
        )
        assert one is not None
        assert one == same
        for call in ("disable", "enable", "run_now", "cancel", "retry"):
            connection.execute(f"select pgsched.{call}(%s)", (one["id"],))
    with database(dsn) as connection:
        assert task_row(connection, one["id"])["status"] == "pending"


def test_producer_may_do_nothing_else(dsn: str, somebody: As) -> None:
    with database(dsn) as connection:
        insert_task(connection)
    refused(
        somebody("pgsched_producer"),
        "select payload from pgsched.tasks",
        "select * from pgsched.tasks",
        "select idempotency_key from pgsched.tasks",
        "update pgsched.tasks set priority = 10",
        "delete from pgsched.tasks",
        "truncate pgsched.tasks",
        "select id from pgsched.tasks for update",
        "insert into pgsched.tasks (id, task_type) values (99, 'mail')",
        "insert into pgsched.tasks (task_type, status) values ('mail', 'completed')",
        "insert into pgsched.tasks (task_type, next_run_at) values ('mail', now())",
        "insert into pgsched.tasks (task_type, fencing_token) values ('mail', 7)",
        "insert into pgsched.tasks (task_type, result) values ('mail', '{}')",
        "insert into pgsched.tasks (task_type, declared) values ('mail', '{}')",
        "insert into pgsched.tasks (task_type, observed) values ('mail', true)",
        "insert into pgsched.tasks (task_type, idempotency_key) values ('mail', 'k') on conflict (idempotency_key) "
        "where idempotency_key is not null do update set priority = 1",
        "insert into pgsched.tasks (task_type) values ('mail') returning payload",
        "select hostname from pgsched.workers",
        "insert into pgsched.queues (name) values ('mail')",
        "select from pgsched.executions",
        "select from pgsched.executions_default",
        "select from pgsched.audit_log",
        "select from pgsched.locks",
        "insert into pgsched.dependencies values (1, 2)",
        "update pgsched.migrations set version = 0",
        "select nextval('pgsched.tasks_id_seq')",
        "select setval('pgsched.tasks_id_seq', 1)",
        "select pgsched.settle('{1}')",
        "select pgsched.fire_group(1, 1)",
        "select pgsched.make_partitions()",
        "select pgsched.lock('l', gen_random_uuid())",
        "select pgsched.limit_queue('mail', concurrency => 1)",
        "select pgsched.change_tasks('delete', '{1}', false)",
        "select pgsched.claim_apart('{mail}', '{1}', 1, 1, gen_random_uuid(), 1, '{mail}')",
        "select pgsched.locked_task(1)",
        "create table pgsched.mine ()",
        "create function pgsched.mine() returns void language sql as ''",
        "create trigger mine before insert on pgsched.tasks execute function pgsched.touch_task()",
        "alter function pgsched.schedule reset search_path",
        "drop schema pgsched cascade",
        "set role pgsched_owner",
    )


def test_viewer_reads_and_changes_nothing(dsn: str, somebody: As) -> None:
    with database(dsn) as connection:
        insert_task(connection)
    with database(somebody("pgsched_viewer")) as connection:
        assert connection.execute("select task_type::text from pgsched.tasks").fetchall() == [{"task_type": "mail"}]
    refused(
        somebody("pgsched_viewer"),
        "insert into pgsched.tasks (task_type) values ('mail')",
        "update pgsched.tasks set priority = 10",
        "delete from pgsched.tasks",
        "select pgsched.schedule('mail')",
        "select pgsched.cancel(1)",
        "select pgsched.run_now(1)",
        "select pgsched.change_tasks('cancel', '{1}', false)",
        "update pgsched.queues set paused = true",
        "select from pgsched.audit_log",
        "delete from pgsched.locks",
    )


def test_worker_may_not_delete_tasks_change_queues_or_read_the_audit_log(dsn: str, somebody: As) -> None:
    with database(dsn) as connection:
        insert_task(connection)
        connection.execute("insert into pgsched.queues (name) values ('mail')")
    refused(
        somebody("pgsched_worker"),
        "delete from pgsched.tasks",
        "update pgsched.queues set paused = true",
        "insert into pgsched.queues (name) values ('other')",
        "select from pgsched.audit_log",
        "update pgsched.executions set status = 'completed'",
        "delete from pgsched.execution_logs",
        "select pgsched.change_tasks('delete', '{1}', false)",
        "update pgsched.settings set retention = '0'",
        "select from pgsched.archived_tasks",
        "select pgsched.hold_history('executions_default', now())",
        "drop table pgsched.executions_default",
        "create table pgsched.mine ()",
    )


def test_operator_may_not_touch_what_workers_write(dsn: str, somebody: As) -> None:
    with database(dsn) as connection:
        insert_task(connection)
    refused(
        somebody("pgsched_operator"),
        "update pgsched.tasks set status = 'completed'",
        "update pgsched.tasks set fencing_token = 99",
        "update pgsched.tasks set locked_until = now()",
        "insert into pgsched.executions select * from pgsched.executions",
        "delete from pgsched.audit_log",
        "update pgsched.audit_log set actor = 'somebody else'",
        "select pgsched.claim_queue('mail', gen_random_uuid(), 1, '{mail}', '{}', 1, 1, true, false)",
        "create table pgsched.mine ()",
    )


def test_function_that_runs_as_owner_looks_nothing_up_where_its_caller_put_it(dsn: str, somebody: As) -> None:
    """Checked by hand: with `reset search_path` on pgsched.schedule the function below runs as the owner."""
    with database(dsn) as connection:
        connection.execute("create schema evil")
        connection.execute("grant usage, create on schema evil to pgsched_producer")
    with database(somebody("pgsched_producer")) as connection:
        connection.execute("create temp table who (name text)")
        connection.execute("grant all on who to public")
        connection.execute(
            """
            create function evil.contains(text[], text[]) returns boolean language plpgsql as $$
            begin
              raise exception 'runs as %', current_user;
            end $$
            """
        )
        connection.execute("create operator evil.@> (function = evil.contains, leftarg = text[], rightarg = text[])")
        connection.execute("grant usage on schema evil to public")
        connection.execute("set search_path = evil, pg_catalog")
        connection.execute("select pgsched.schedule('mail')")
        with database(dsn) as admin:
            admin.execute(
                """
                insert into pgsched.workers (
                  id, hostname, pid, queues, task_types, concurrency, lease, sleeping_until)
                values (gen_random_uuid(), 'h', 1, '{default}', '{}', 1, '1 hour', now() + interval '1 hour')
                """
            )
        connection.execute("select pgsched.schedule('mail')")
        connection.execute("insert into pgsched.tasks (task_type) values ('mail')")  # as whoever inserts, and still not


# By the faces.


def test_producer_retries_its_own_tasks_with_another_payload_and_no_others(dsn: str, somebody: As) -> None:
    retry = 'select pgsched.retry(%s, \'{"to": "eve"}\')'
    with database(dsn) as admin, database(somebody("pgsched_producer")) as connection:
        own, other = insert_task(connection), insert_task(admin)
        admin.execute("select pgsched.cancel(id) from pgsched.tasks")
        connection.execute(retry, (own,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"task {other} was inserted by another role"):
            connection.execute(retry, (other,))
        connection.execute("select pgsched.retry(%s)", (other,))  # as ever
        assert [task_row(admin, one)["payload"] for one in (own, other)] == [{"to": "eve"}, {}]
        with database(somebody("pgsched_operator")) as operator:
            admin.execute("select pgsched.cancel(%s)", (other,))
            operator.execute(retry, (other,))
            assert task_row(admin, other)["payload"] == {"to": "eve"}
            rows = operator.execute("select * from pgsched.edit_payloads(%s, '{\"cc\": 1}')", ([own, other],))
            assert [row["refusal"] for row in rows] == [None, None]
        refused(somebody("pgsched_producer"), "select pgsched.edit_payloads('{1}', '{}')")


def test_client_schedules_as_a_producer(dsn: str, somebody: As) -> None:
    with Client(somebody("pgsched_producer")) as client:
        one = client.schedule("mail", {"to": "ada"}, idempotency_key="k")
        specs = [
            TaskSpec(task_type="mail", payload={"n": 1}, tags=["a", "b"], priority=7),
            TaskSpec(task_type="mail", idempotency_key="k"),
            TaskSpec(task_type="mail", delay="1h"),
            TaskSpec(task_type="mail", depends_on=[one]),
            TaskSpec(task_type="mail", cron="0 8 * * *"),
        ]
        ids = client.schedule_many(specs)
        assert ids[1] == one
        assert len(client.schedule_many(TaskSpec(task_type="mail") for _ in range(2500))) == 2500
        assert client.cancel(one) is None
        assert client.get(one).status == "cancelled"
        for refuse in (lambda: client.list_tasks(), lambda: client.stats(), lambda: client.delete(one)):
            with pytest.raises(PermissionRefused, match=REFUSED):
                refuse()
    with database(dsn) as connection:
        rows = [task_row(connection, task_id) for task_id in ids]
    assert (rows[0]["payload"], rows[0]["tags"], rows[0]["priority"]) == ({"n": 1}, ["a", "b"], 7)
    assert rows[2]["scheduled_for"] > rows[0]["scheduled_for"]
    assert (rows[3]["depends_on"], rows[4]["schedule_type"]) == ([one], "recurring")


def test_producer_sees_its_own_tasks_and_no_others(dsn: str, database_name: str) -> None:
    with database(dsn) as connection:
        migrate(dsn, roles=True)
        strange = insert_task(connection, payload='{"secret": 1}')
        with (
            login(dsn, f"one_{database_name}", member_of="pgsched_producer") as mine,
            login(dsn, f"two_{database_name}", member_of="pgsched_producer") as theirs,
            Client(mine) as client,
            Client(theirs) as stranger,
        ):
            plain = client.schedule("mail", {"to": "ada"})
            (many,) = client.schedule_many([TaskSpec(task_type="mail", payload={"n": 1})])
            with database(mine) as session:
                inserted = insert_task(session, payload='{"n": 2}')
                seen = session.execute("select id from pgsched.visible_tasks order by id").fetchall()
                assert [row["id"] for row in seen] == [plain, many, inserted]
            schedule = client.schedule("mail", every="1h")
            copy = client.run_now(schedule)
            for own in (plain, many, inserted, schedule, copy):
                assert client.get(own).task_type == "mail"
                assert client.status(own).task.id == own
                assert stranger.executions(own) == []
                for ask in (stranger.get, stranger.status, stranger.wait):
                    with pytest.raises(TaskNotFound, match=f"task {own} does not exist"):
                        ask(own)
            with pytest.raises(TaskNotFound):
                client.get(strange)
            connection.execute(
                "update pgsched.tasks set status = 'completed', next_run_at = null, completed_at = now(),"
                " result = '{\"sent\": true}' where id = %s",
                (plain,),
            )
            assert client.wait(plain, timeout=5) == {"sent": True}
            connection.execute(
                "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
                " finished_at) select id, task_type, queue, 1, 1, 'completed', now(), now() from pgsched.tasks"
            )
            assert [one.task_id for one in client.executions(plain)] == [plain]
            assert client.executions(strange) == []
            assert client.status(plain).last_execution is not None
            with database(mine) as session:
                assert len(session.execute("select from pgsched.visible_executions").fetchall()) == 5


def test_owner_of_a_row_cannot_be_forged_by_a_producer(dsn: str, somebody: As) -> None:
    refused(
        somebody("pgsched_producer"),
        "insert into pgsched.tasks (task_type, inserted_by) values ('mail', 'somebody')",
        "update pgsched.visible_tasks set inserted_by = 'somebody'",
        "insert into pgsched.visible_tasks (task_type) values ('mail')",
        "delete from pgsched.visible_tasks",
    )
    with database(dsn) as connection, database(somebody("pgsched_viewer")) as viewer:
        insert_task(connection)
        assert len(viewer.execute("select from pgsched.visible_tasks").fetchall()) == 1


PRODUCER_COMMANDS = (
    ("task", "add", "mail"), ("task", "run", 1), ("task", "disable", 1), ("task", "enable", 1), ("task", "cancel", 1),
    ("task", "retry", 1),
)  # fmt: skip
VIEWER_COMMANDS = (
    ("task", "list"), ("task", "show", 1), ("task", "tree", 1), ("dead", "list"), ("queue", "list"), ("lock", "list"),
    ("stats",), ("worker", "list"), ("group", "show", 2), ("settings", "show"),
)  # fmt: skip
OPERATOR_COMMANDS = (
    ("task", "edit", 1, "--priority", 7), ("queue", "pause", "mail"), ("queue", "resume", "mail"),
    ("queue", "limit", "mail", "--concurrency", 3), ("queue", "limit", "mail", "--none"),
    ("queue", "set", "mail", "--ordering", "lifo"), ("queue", "events", "mail", "on"), ("dead", "retry", "--yes"),
    ("queue", "set", "mail", "--retention", "7d"), ("settings", "set", "--history-retention", "30d"),
    ("prune", "--completed-older-than", "0s", "--allow-short", "--archive", "--yes"),
    ("dead", "purge", "--yes"), ("task", "delete", 1, "--yes"), ("lock", "run", "backup", "--", "true"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("pgsched_producer", PRODUCER_COMMANDS),
        ("pgsched_viewer", VIEWER_COMMANDS),
        ("pgsched_operator", PRODUCER_COMMANDS + VIEWER_COMMANDS + OPERATOR_COMMANDS),
    ],
)
def test_command_works_or_is_refused_in_one_line(dsn: str, somebody: As, role: str, may: tuple[Any, ...]) -> None:
    steps = '{"steps": [{"task_type": "mail"}]}'
    with database(dsn) as connection:
        insert_task(connection)
        insert_task(connection, "pgsched.group", payload=steps)
        set_dead(connection, insert_task(connection))
        connection.execute("insert into pgsched.queues (name) values ('mail')")
    for command in PRODUCER_COMMANDS + VIEWER_COMMANDS + OPERATOR_COMMANDS:
        ended = pgsched(*command, dsn=somebody(role))
        if command in may:
            assert (command, ended.code, ended.stderr) == (command, 0, "")
        else:
            assert (command, ended.code) == (command, 1)
            hidden = command == ("task", "show", 1)  # no task of this login: for it there is none
            assert ended.error.startswith("task 1 does not exist" if hidden else REFUSED), command


def test_worker_is_refused_to_roles_that_cannot_run_one(dsn: str, somebody: As) -> None:
    for role in ("pgsched_producer", "pgsched_viewer", "pgsched_operator"):
        ended = pgsched("worker", "--http", dsn=somebody(role))
        assert ended.code == 1
        assert re.fullmatch(
            r'the database role "\w+" may not do this: it needs (select|insert|update) on pgsched\.tasks', ended.error
        )
    ended = pgsched("web", "--port", 0, dsn=somebody("pgsched_producer"))
    assert (ended.code, ended.error.split(": ", 1)[1]) == (1, "it needs select on pgsched.tasks")


def test_role_without_any_right_is_refused_in_one_line(dsn: str, database_name: str) -> None:
    with login(dsn, f"nobody_{database_name}") as nobody:
        for command in (
            ["task", "add", "mail"],
            ["stats"],
            ["worker", "--http"],
            ["web", "--port", "0"],
            ["task", "list"],
        ):
            ended = pgsched(*command, dsn=nobody)
            assert (command, ended.code, ended.error) == (command, 1, f"{REFUSED}schema pgsched")


APP = """
from pgsched import App, Context

app = App()


@app.task("plain")
def plain() -> str:
    return "done"


@app.task("written", transactional=True)
async def written(ctx: Context) -> None:
    ctx.log("written")
    ctx.progress(50)
    await ctx.connection.execute("create temp table if not exists mine ()")


@app.task("fails", max_attempts=1)
async def fails() -> None:
    raise ValueError("no luck")


@app.task("more", every="1s", times=2)
async def more(ctx: Context) -> None:
    app.client().schedule("plain")
"""


def test_protocol_works_as_pgsched_worker_and_for_nobody_else(dsn: str, somebody: As) -> None:
    me = "11111111-1111-1111-1111-111111111111"
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.queues (name, limits) values ('rated', '{\"rate\": 50, \"concurrency\": 9}')"
        )
        connection.execute("insert into pgsched.queues (name, retention, events) values ('leaving', '0', true)")
        for queue in ("default", "rated", "leaving"):
            insert_task(connection, queue=queue)
        insert_task(connection, "mail", cron_expression="* * * * * *")
        insert_task(connection, "mail", repeat_interval="1 second", overlap="allow")
        insert_task(connection, "pgsched.group", payload='{"steps": [{"task_type": "mail"}]}')
    with database(somebody("pgsched_worker")) as connection:
        ask = connection.execute
        ask("select pgsched.register_worker(%s, '{default,rated,leaving}', '{mail}', 10)", (me,))
        ended = set()

        def work() -> bool:
            claimed = ask("select * from pgsched.claim(%s, '{rated,default,leaving}', '{mail}', 10)", (me,)).fetchall()
            for task in claimed:
                ask("select pgsched.beat(%s, %s, %s)", (me, [task["id"]], [task["fencing_token"]]))
                ask("select pgsched.report_progress(%s, %s, %s, '1')", (me, task["id"], task["fencing_token"]))
                outcome = {"outcome": "failed" if task["id"] == 1 else "completed", "error": "no luck"}
                outcome |= {"id": task["id"], "fencing_token": task["fencing_token"]}
                written = ask("select (pgsched.finish(%s, %s)).written as n", (me, json.dumps([outcome]))).fetchone()
                assert written == {"n": 1}
                ended.add(task["id"])
            return len(ended) >= 7

        wait_until(work, message="every kind of task has run")
        ask("select pgsched.release(%s, '{1}', '{1}'), pgsched.sleep(%s), pgsched.upkeep()", (me, me))
        assert ask("select pgsched.unregister_worker(%s) as gone", (me,)).fetchone() == {"gone": True}
    for role in ("pgsched_producer", "pgsched_viewer", "pgsched_operator"):
        with database(somebody(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from pgsched.claim(%s, '{default}', '{mail}')", (me,))


def test_worker_works_as_pgsched_worker(dsn: str, somebody: As, run_pgsched: PgschedRunner, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(APP)
    with database(dsn) as connection:
        (day,) = connection.execute(
            "select to_char((now() at time zone 'utc')::date + 5, 'YYYYMMDD') as name"
        ).fetchall()
        connection.execute(f"drop table pgsched.executions_{day['name']}")
        connection.execute("insert into pgsched.queues (name, limits) values ('keyed', '{\"concurrency_per_key\": 1}')")
        connection.execute("insert into pgsched.queues (name, limits) values ('rated', '{\"rate\": 50}')")
        connection.execute("insert into pgsched.queues (name, ageing, events) values ('aged', '1 minute', true)")
    worker = run_pgsched("worker", "--app", "mod:app", "--queue", "*", dsn=somebody("pgsched_worker"))
    worker.wait_for_output("worker_started")
    with database(somebody("pgsched_viewer")) as connection:  # anybody may; each of them ended the listener once
        connection.execute("select pg_notify('pgsched_cancel', word) from unnest(array['²', repeat('9', 5000)]) word")
    with Client(somebody("pgsched_producer")) as client:
        ids = [client.schedule(kind) for kind in ("plain", "written")]
        ids += [client.schedule("plain", queue=queue, concurrency_key="k") for queue in ("keyed", "rated", "aged") * 2]
        ids.append(client.schedule("plain", depends_on=[ids[1]]))
        dead = client.schedule("fails", max_attempts=1)
        with database(somebody("pgsched_producer")) as connection:
            steps = '{"steps": [{"task_type": "plain"}, {"task_type": "written"}]}'
            ids.append(insert_task(connection, "pgsched.group", payload=steps))
    with database(dsn) as connection:
        unfinished = "select from pgsched.tasks where next_run_at is not null or status = 'blocked'"
        wait_until(lambda: not connection.execute(unfinished).fetchall(), message="all is done")
        assert {task_row(connection, task_id)["status"] for task_id in ids} == {"completed"}
        assert task_row(connection, dead)["status"] == "dead"
        wait_until(
            lambda: connection.execute("select from pgsched.execution_logs").fetchall(), message="the log is written"
        )
        made = connection.execute(
            "select count(*) as n, count(distinct relowner) as owners from pg_class c join pg_inherits i on "
            "i.inhrelid = c.oid where i.inhparent = 'pgsched.executions'::regclass"
        ).fetchone()
    assert made == {"n": 9, "owners": 1}
    assert worker.stop() == 0
    assert "permission" not in worker.output
    warned = [line for line in worker.stderr.splitlines() if '"level": "info"' not in line]
    assert len(warned) == 1, warned
    assert '"task_dead"' in warned[0]


def test_operator_brings_declared_schedules_in_step(
    dsn: str, somebody: As, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    for source in (APP, APP.replace('every="1s", times=2', 'every="2s"'), APP.replace(', every="1s", times=2', "")):
        (tmp_path / "mod.py").write_text(source)
        sync = run_pgsched("schedule", "sync", "--app", "mod:app", "--prune", dsn=somebody("pgsched_operator"))
        assert sync.wait() == 0, sync.output
    with database(dsn) as connection:
        (row,) = connection.execute("select repeat_interval::text as every, enabled from pgsched.tasks").fetchall()
    assert row == {"every": "00:00:02", "enabled": False}


PAGES = (
    "/", "/tasks", "/tasks/1", "/schedules", "/workflows", "/workflows/2", "/queues", "/workers", "/dead",
    "/calendars", "/api/v1/calendars", "/api/v1/schedules/preview?cron=0 9 * * * except=@holidays",
    "/executions", "/api/v1/tasks", "/api/v1/tasks/1", "/api/v1/tasks/1/executions", "/api/v1/queues",
    "/api/v1/workers", "/api/v1/dead", "/api/v1/executions", "/api/v1/stats",
    "/api/v1/tasks/1/logs", "/api/v1/tasks/1/missed-ticks", "/api/v1/tasks/1/tree", "/api/v1/queues/mail/settings",
)  # fmt: skip
BULK = {"action": "cancel", "filter": {"id": [1]}}
FOR_OPERATORS = (
    "/audit",
    "/api/v1/audit",
    "/schedules/new",
    "/queues/settings?queue=mail",
    "/tasks/1/edit",
    "/calendars/edit?name=x",
)


def _rows(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection)
        insert_task(connection, "pgsched.group", payload='{"steps": [{"task_type": "mail"}]}')
        set_dead(connection, insert_task(connection))
        connection.execute("insert into pgsched.queues (name) values ('mail')")
        connection.execute("insert into pgsched.calendars (name, days) values ('holidays', '{12-25}')")


async def test_web_shows_everything_as_pgsched_viewer_and_refuses_changes(dsn: str, somebody: As) -> None:
    _rows(dsn)
    async with web(somebody("pgsched_viewer")) as http:
        for path in PAGES:
            assert (path, (await http.get(path)).status_code) == (path, 200)
        for path in ("/tasks/1/cancel", "/tasks/1/run", "/queues/mail/pause", "/tasks/bulk"):
            answer = await http.post(f"/api/v1{path}", json=BULK if "bulk" in path else {})
            assert (path, answer.status_code) == (path, 403), answer.text
            assert answer.json()["detail"].startswith(REFUSED)
        answer = await http.put("/api/v1/calendars/holidays", json={"days": []})
        assert (answer.status_code, answer.json()["detail"].startswith(REFUSED)) == (403, True)


async def test_web_does_everything_as_pgsched_operator(dsn: str, somebody: As) -> None:
    _rows(dsn)
    async with web(somebody("pgsched_operator"), WebSettings()) as http:
        for path in PAGES + FOR_OPERATORS:
            assert (path, (await http.get(path)).status_code) == (path, 200)
        changes: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("POST", "/tasks", {"task_type": "mail", "payload": {"a": 1}}),
            ("PATCH", "/tasks/1", {"priority": 8}),
            ("POST", "/tasks/1/disable", {}),
            ("POST", "/tasks/1/run", {}),
            ("POST", "/tasks/1/cancel", {}),
            ("POST", "/tasks/1/retry", {}),
            ("POST", "/queues/mail/pause", {}),
            ("POST", "/queues/mail/resume", {}),
            ("PUT", "/calendars/holidays", {"days": ["12-26"]}),
            ("DELETE", "/calendars/holidays", {}),
            ("POST", "/dead/retry", {"all": True}),
            ("POST", "/tasks/bulk", BULK),
            ("DELETE", "/tasks/1", {}),
        )
        for method, path, body in changes:
            answer = await http.request(method, f"/api/v1{path}", json=body)
            assert answer.status_code < 300, (method, path, answer.text)
    with database(dsn) as connection:
        noted = connection.execute("select count(*) as n from pgsched.audit_log").fetchone()
    assert noted == {"n": len(changes)}


# Migrations.


def test_roles_are_made_once_and_rights_are_brought_in_step(dsn: str) -> None:
    with database(dsn) as connection:
        before = connection.execute(RIGHTS, (list(ROLES),)).fetchall()
        connection.execute("grant delete on pgsched.tasks to pgsched_producer")
        connection.execute("revoke select on pgsched.tasks from pgsched_viewer")
    ended = pgsched("migrate", "--roles", dsn=dsn)
    assert (ended.code, ended.stdout) == (0, "the roles exist and have their rights\n")
    with database(dsn) as connection:
        assert connection.execute(RIGHTS, (list(ROLES),)).fetchall() == before


def test_later_migration_brings_rights_in_step_without_being_asked(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(load_statement("create_migrations"))
        for one in migrations()[:-1]:
            connection.execute(one.sql)
            connection.execute(load_statement("record_migration"), one._asdict() | {"works_with": one.works_with})
        connection.execute(load_statement("create_roles"))
        connection.execute(load_statement("take_ownership"))
        connection.execute("grant usage on schema pgsched to pgsched_worker")
    assert pgsched("migrate", dsn=empty_dsn).code == 0
    with database(empty_dsn) as connection:
        row = connection.execute(
            "select has_table_privilege('pgsched_worker', 'pgsched.tasks', 'update') as granted, "
            "count(distinct relowner) as owners from pg_class where relnamespace = 'pgsched'::regnamespace"
        ).fetchone()
    assert row == {"granted": True, "owners": 1}


def test_migrate_without_roles_grants_nothing(empty_dsn: str) -> None:
    assert pgsched("migrate", dsn=empty_dsn).code == 0
    with database(empty_dsn) as connection:
        found = connection.execute(
            "select rolname from pg_roles where rolname = any(%s) and has_schema_privilege(oid, 'pgsched', 'usage')",
            (list(ROLES),),
        ).fetchall()
    assert found == []


def test_owner_who_is_no_superuser_keeps_his_rights_and_migrates_on(empty_dsn: str, database_name: str) -> None:
    name = f"owner_{database_name}"
    with login(empty_dsn, name) as owner:
        with database(empty_dsn) as connection:
            current = connection.execute("select current_database() as name").fetchone()
            connection.execute(f'grant create on database "{current["name"]}" to "{name}"')  # type: ignore[index]
        assert pgsched("migrate", dsn=owner).code == 0
        ended = pgsched("migrate", "--roles", dsn=owner)
        assert ended.code == 1
        assert ended.error.startswith("the database's role may not do this: ")  # why, each version has it otherwise
        assert ended.error.endswith("may create roles, must run 'pgsched migrate --roles'")
        assert pgsched("migrate", "--roles", dsn=empty_dsn).code == 0
        assert pgsched("task", "add", "mail", dsn=owner).code == 0
        assert pgsched("task", "list", "--json", dsn=owner).json()
        assert pgsched("migrate", dsn=owner).stdout == f"the schema is up to date (version {program_version()})\n"
        assert pgsched("migrate", "--roles", dsn=owner).code == 0  # a member of pgsched_owner now


def test_script_with_roles_makes_what_migrate_makes(empty_dsn: str, server_dsn: str, database_name: str) -> None:
    run_psql(empty_dsn, pgsched("migrate", "--sql", "--roles").stdout)
    with servers.fresh_database(server_dsn, f"{database_name}_other") as other:
        assert pgsched("migrate", "--roles", dsn=other).code == 0
        assert dump(empty_dsn) == dump(other)
        assert "GRANT SELECT ON TABLE pgsched.executions TO pgsched_viewer" in dump(other)


def test_a_producer_upserts_what_it_inserted_and_nothing_else(dsn: str, somebody: As) -> None:
    upsert = """
        select outcome from pgsched.upsert(
          jsonb_build_object('task_type', 'mail', 'idempotency_key', %s::text, 'priority', %s::integer))
    """
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(upsert, ("theirs", 5))
    with psycopg.connect(somebody("pgsched_producer"), autocommit=True) as own:
        assert [own.execute(upsert, ("own", priority)).fetchone() for priority in (5, 5, 6)] == [
            ("created",),
            ("unchanged",),
            ("updated",),
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="was inserted by another role"):
            own.execute(upsert, ("theirs", 6))
    for role in ("pgsched_operator", "pgsched_worker"):
        with psycopg.connect(somebody(role), autocommit=True) as other:
            assert other.execute(upsert, ("theirs", len(role) % 10 + 1)).fetchone() == ("updated",)
    with (
        psycopg.connect(somebody("pgsched_viewer"), autocommit=True) as viewer,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        viewer.execute(upsert, ("theirs", 7))


@pytest.mark.parametrize("role", ["pgsched_worker", "pgsched_viewer", "pgsched_operator"])
def test_role_tells_a_copy_on_another_server_by_the_rights_of_the_page_alone(somebody: As, dsn: str, role: str) -> None:
    with database(dsn) as owner, database(somebody(role)) as db:
        may = db.execute(
            "select rolsuper or pg_has_role('pg_monitor', 'member') as may from pg_roles where rolname = current_user"
        ).fetchone()
        assert may == {"may": False}
        owner.execute("select pgsched.adopt_database()")
        here = owner.execute("select system_identifier::text as id from pg_control_system()").fetchone()
        state = "select state, system_identifier as id from pgsched.database_state()"
        assert here is not None
        assert db.execute(state).fetchone() == {"state": "original", "id": here["id"]}
        owner.execute("update pgsched.database_identity set system_identifier = 7")
        assert db.execute(state).fetchone() == {"state": "copy", "id": here["id"]}
