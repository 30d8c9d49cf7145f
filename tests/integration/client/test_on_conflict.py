"""What becomes of the task that has a key: ``replace`` and ``raise``; ``update`` is in ``test_upsert.py``."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgsched import App, AsyncClient, Client, InvalidTask, KeyTaken, PgschedError, TaskSpec, TransitionRefused
from pgsched.db.migrations.runner import migrate
from pgsched.domain.errors import PermissionRefused
from pgsched.domain.scheduled import OnConflict, Scheduled
from tests.support.commands import pgsched
from tests.support.engine import rows
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_completed, set_dead, set_running, task_row
from tests.support.waiting import wait_until
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
API = "/api/v1"
SESSIONS = 8


def put(client: Client, on_conflict: OnConflict, payload: dict[str, Any] | None = None, **options: Any) -> Scheduled:
    return client.schedule("mail", payload, idempotency_key="k", on_conflict=on_conflict, **options)


# Replaced.


@pytest.mark.parametrize("schedule", [{"delay": "1h"}, {"cron": "0 8 * * *"}, {"every": "1h"}])
def test_a_task_that_waits_is_cancelled_and_a_new_one_has_the_key(
    client: Client, db: Database, schedule: dict[str, Any]
) -> None:
    first = put(client, "replace", {"n": 1}, priority=9, **schedule)
    second = put(client, "replace", {"n": 2}, delay="2h")
    assert (first.outcome, second.outcome, second.differs) == ("created", "replaced", ())
    was, now = task_row(db, first), task_row(db, second)
    assert (was["status"], was["idempotency_key"], was["payload"]) == ("cancelled", None, {"n": 1})
    assert was["last_error"] == f"replaced by task {second}"
    assert (now["status"], now["idempotency_key"], now["payload"], now["priority"]) == ("pending", "k", {"n": 2}, 5)
    assert client.task_id("k") == second


@pytest.mark.parametrize("end", [set_completed, set_dead, lambda db, id: None])
def test_one_that_is_over_stays_as_it_ended(client: Client, db: Database, end: Callable[[Database, int], None]) -> None:
    first = put(client, "return")
    end(db, first)
    if task_row(db, first)["status"] == "pending":
        client.cancel(first)
    before = task_row(db, first)
    second = put(client, "replace")
    after = task_row(db, first)
    assert (second.outcome, after.pop("idempotency_key")) == ("replaced", None)
    assert after.items() <= (before | {"updated_at": after["updated_at"]}).items()


def test_one_that_runs_is_refused_and_nothing_changes(client: Client, db: Database) -> None:
    first = put(client, "return", {"n": 1})
    set_running(db, first)
    with pytest.raises(TransitionRefused, match=f"^task {first} has the idempotency_key k, and is running: it cannot "):
        put(client, "replace", {"n": 2})
    assert rows(db, "select id, status, idempotency_key from pgsched.tasks") == [
        {"id": first, "status": "running", "idempotency_key": "k"}
    ]


def test_a_group_under_way_is_refused_too(client: Client, db: Database) -> None:
    first = client.schedule_group({"steps": [{"task_type": "a"}]}, idempotency_key="k")
    set_running(db, first)
    db.execute("select pgsched.fire_group(%s, %s)", (first, task_row(db, first)["fencing_token"]))
    assert task_row(db, first)["status"] == "blocked"
    with pytest.raises(TransitionRefused, match="is running: it cannot be replaced"):
        put(client, "replace")


def test_who_waited_for_it_hears_of_it(client: Client, db: Database) -> None:
    first = put(client, "return", delay="1h")
    waiting = client.schedule("after", depends_on=[first])
    put(client, "replace")
    assert task_row(db, waiting)["status"] == "cancelled"


def test_a_new_one_that_is_refused_leaves_the_old_one(client: Client, db: Database) -> None:
    first = put(client, "return", {"n": 1})
    with pytest.raises(InvalidTask, match="depends_on"):
        put(client, "replace", depends_on=[4711])
    assert (task_row(db, first)["status"], task_row(db, first)["idempotency_key"]) == ("pending", "k")


# Raised.


def test_a_known_key_raises_an_error_that_has_it_and_the_id(client: Client, db: Database) -> None:
    first = put(client, "raise", {"n": 1})
    assert first.outcome == "created"
    with pytest.raises(KeyTaken, match=f"^idempotency_key 'k' is taken by task {first}$") as raised:
        put(client, "raise", {"n": 2})
    assert (raised.value.key, raised.value.id, raised.value.field) == ("k", first, "idempotency_key")
    assert isinstance(raised.value, InvalidTask)
    assert rows(db, "select payload from pgsched.tasks") == [{"payload": {"n": 1}}]


def test_an_edit_to_a_taken_key_raises_it_too(client: Client) -> None:
    put(client, "raise")
    other = client.schedule("mail")
    with pytest.raises(KeyTaken, match=r"^idempotency_key 'k' is taken by another task$") as raised:
        client.update(other, idempotency_key="k")
    assert (raised.value.key, raised.value.id) == ("k", None)


def test_return_is_keep(client: Client) -> None:
    first = put(client, "return")
    assert put(client, "keep").outcome == put(client, "return").outcome == "existing"
    assert put(client, "keep") == first


@pytest.mark.parametrize("on_conflict", ["replace", "raise"])
def test_without_a_key_it_is_refused(client: Client, on_conflict: OnConflict) -> None:
    with pytest.raises(InvalidTask, match=f'on_conflict="{on_conflict}" needs an idempotency_key'):
        client.schedule("mail", on_conflict=on_conflict)


# Each face.


async def test_async_and_many(dsn: str, db: Database) -> None:
    async with AsyncClient(dsn) as client:
        specs = [TaskSpec(task_type="mail", idempotency_key=key) for key in ("b", "a", "c")]
        first = await client.schedule_many(specs, on_conflict="raise")
        assert [one.outcome for one in first] == ["created"] * 3
        second = await client.schedule_many(specs[:2], on_conflict="replace")
        assert [one.outcome for one in second] == ["replaced"] * 2
        with pytest.raises(KeyTaken) as raised:
            await client.schedule_many([TaskSpec(task_type="mail", idempotency_key="d"), specs[2]], on_conflict="raise")
        assert (raised.value.key, raised.value.id) == ("c", first[2])
        assert rows(db, "select from pgsched.tasks where idempotency_key = 'd'") == []
        one = await client.schedule("mail", idempotency_key="a", on_conflict="replace")
        assert one.outcome == "replaced"
        # Within one call the last one stays.
        twice = await client.schedule_many([specs[0]] * 2, on_conflict="replace")
        assert await client.task_id("b") == twice[1] != twice[0]


def test_many_are_replaced_all_or_none(client: Client, db: Database) -> None:
    first = client.schedule("mail", idempotency_key="a")
    set_running(db, client.schedule("mail", idempotency_key="b"))
    with pytest.raises(TransitionRefused):
        client.schedule_many([TaskSpec(task_type="mail", idempotency_key=key) for key in "ab"], on_conflict="replace")
    assert client.task_id("a") == first


def test_handle_and_the_callers_own_transaction(dsn: str, db: Database) -> None:
    app = App(dsn=dsn)

    @app.task("mail")
    def mail() -> None: ...

    first = mail.schedule(idempotency_key="k")
    with psycopg.connect(dsn) as connection:
        assert mail.schedule(idempotency_key="k", on_conflict="replace", connection=connection).outcome == "replaced"
        connection.rollback()
    assert task_row(db, first)["status"] == "pending"
    with pytest.raises(KeyTaken):
        mail.schedule(idempotency_key="k", on_conflict="raise")
    app.close()


def sql_put(db: Database, on_conflict: str, **task: Any) -> dict[str, Any]:
    (row,) = rows(db, "select * from pgsched.schedule_by_key(%s, %s)", json.dumps(task), on_conflict)
    return row


def test_sql(db: Database) -> None:
    task = {"task_type": "mail", "idempotency_key": "k", "delay": "1 hour", "priority": 7}
    (first,) = rows(db, "select * from pgsched.schedule_by_key(%s)", json.dumps(task))
    assert first == {"id": first["id"], "outcome": "created", "differs": []}
    told = sql_put(db, "return", **task | {"priority": 8, "repeat_interval": "1h", "delay": None})
    assert told == {"id": first["id"], "outcome": "existing", "differs": ["priority", "repeat_interval"]}
    assert sql_put(db, "update", **task | {"priority": 8})["outcome"] == "updated"
    replaced = sql_put(db, "replace", **task)
    assert (replaced["outcome"], replaced["id"] > first["id"]) == ("replaced", True)
    with pytest.raises(psycopg.errors.UniqueViolation, match=f"^the key 'k' is taken by task {replaced['id']}"):
        sql_put(db, "raise", **task)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="on_conflict must be return, keep, update, "):
        sql_put(db, "merge", **task)


def test_command_line(dsn: str, tmp_path: Path) -> None:
    def add(*options: object) -> Any:
        return pgsched("task", "add", "mail", "--key", "k", *options, dsn=dsn)

    first = int(add("--on-conflict", "raise").stdout)
    taken = add("--on-conflict", "raise")
    assert (taken.code, taken.error) == (1, f"idempotency_key 'k' is taken by task {first}")
    assert add("--on-conflict", "replace").stdout == f"{first + 1} replaced\n"
    assert add("--on-conflict", "return").stdout == add("--on-conflict", "keep").stdout == f"{first + 1}\n"
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"task_type": "a"}]}')
    group = pgsched("group", "add", plan, "--key", "k", "--on-conflict", "replace", dsn=dsn)
    assert group.stdout.endswith(" replaced\n")


async def test_rest(dsn: str) -> None:
    body: dict[str, Any] = {"task_type": "mail", "idempotency_key": "k"}
    async with web(dsn) as http:
        first = (await http.post(f"{API}/tasks?on_conflict=raise", json=body)).json()
        taken = await http.post(f"{API}/tasks?on_conflict=raise", json=body)
        assert (taken.status_code, taken.json()["detail"], taken.json()["task_id"]) == (
            409,
            f"idempotency_key 'k' is taken by task {first['id']}",
            first["id"],
        )
        second = await http.post(f"{API}/tasks?on_conflict=replace", json=body)
        assert (second.status_code, second.json()["outcome"]) == (201, "replaced")
        group = await http.post(
            f"{API}/groups?on_conflict=replace", json={"steps": [{"task_type": "a"}], "idempotency_key": "k"}
        )
        assert (group.status_code, group.json()["outcome"]) == (201, "replaced")
        await http.post(f"{API}/tasks/{group.json()['id']}/run")
        with database(dsn) as db:
            set_running(db, group.json()["id"])
        refused = await http.post(f"{API}/tasks?on_conflict=replace", json=body)
        assert refused.status_code == 409
    with database(dsn) as db:
        noted = rows(db, "select action, before, after from pgsched.audit_log order by id")
    assert [one["action"] for one in noted] == ["task.create", "task.replace", "task.replace", "task.run"]
    assert (noted[1]["before"], noted[1]["after"]) == (
        {"id": first["id"], "status": "pending"},
        {"id": second.json()["id"]},
    )


def test_a_producer_replaces_its_own_tasks_and_no_others(dsn: str, database_name: str) -> None:
    with database(dsn) as db:
        migrate(dsn, roles=True)
        strange = insert_task(db, idempotency_key="strange")
        with login(dsn, f"one_{database_name}", member_of="pgsched_producer") as mine, Client(mine) as client:
            own = put(client, "return")
            assert put(client, "replace").outcome == "replaced"
            assert task_row(db, own)["status"] == "cancelled"
            with pytest.raises(PermissionRefused, match=f"task {strange} has the idempotency_key strange, and was"):
                client.schedule("mail", idempotency_key="strange", on_conflict="replace")
    with database(dsn) as db:
        assert task_row(db, strange)["status"] == "pending"


# Races, of real sessions.


def at_once(dsn: str, work: Callable[[Client, int], object]) -> tuple[list[object], list[Exception]]:
    """What so many sessions that begin together return and raise."""
    barrier = threading.Barrier(SESSIONS)
    done: list[object] = []
    raised: list[Exception] = []

    def one(number: int) -> None:
        with Client(dsn, pool_size=1) as client:
            client.stats()  # is connected
            barrier.wait()
            try:
                done.append(work(client, number))
            except PgschedError as error:
                raised.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return done, raised


def outcomes(done: list[object]) -> Counter[str | None]:
    return Counter(one.outcome for one in done if isinstance(one, Scheduled))


@pytest.mark.parametrize("known", [False, True])
def test_of_many_that_replace_at_once_one_is_left(dsn: str, client: Client, db: Database, known: bool) -> None:
    if known:
        put(client, "return")
    done, raised = at_once(dsn, lambda each, n: [put(each, "replace", {"n": n, "m": m}) for m in range(5)])
    assert raised == []
    made = [one for several in done for one in several]  # type: ignore[attr-defined]
    assert len(set(made)) == 5 * SESSIONS
    assert outcomes(made) == Counter(replaced=5 * SESSIONS - (not known)) + Counter(created=int(not known))
    standing = rows(db, "select id from pgsched.tasks where idempotency_key = 'k' and status = 'pending'")
    assert len(standing) == 1
    others = rows(db, "select status, last_error from pgsched.tasks where idempotency_key is null")
    assert {one["status"] for one in others} == {"cancelled"}
    replacing = {int(one["last_error"].removeprefix("replaced by task ")) for one in others}
    assert len(replacing) == len(others)  # each by another one: none was made for nothing


def test_of_many_that_raise_at_once_one_makes_it(dsn: str, db: Database) -> None:
    done, raised = at_once(dsn, lambda each, n: put(each, "raise", {"n": n}))
    (made,) = done
    assert len(raised) == SESSIONS - 1
    assert {(error.key, error.id) for error in raised if isinstance(error, KeyTaken)} == {("k", made)}
    assert len(rows(db, "select from pgsched.tasks")) == 1


def test_of_many_that_return_at_once_all_get_the_same(dsn: str, db: Database) -> None:
    done, raised = at_once(dsn, lambda each, n: put(each, "return", {"n": n}))
    assert raised == []
    assert len(set(map(int, done))) == 1  # type: ignore[call-overload]
    assert outcomes(done) == Counter(created=1, existing=SESSIONS - 1)
    assert {one.differs for one in done if isinstance(one, Scheduled) and one.outcome == "existing"} == {("payload",)}


def test_all_kinds_at_once_end_with_one_task_of_the_key(dsn: str, db: Database) -> None:
    kinds: tuple[OnConflict, ...] = ("return", "update", "replace", "raise")

    def work(client: Client, number: int) -> None:
        for turn in range(12):
            with contextlib.suppress(KeyTaken):
                put(client, kinds[(number + turn) % 4], {"n": number, "turn": turn})

    done, raised = at_once(dsn, work)
    assert (len(done), raised) == (SESSIONS, [])
    assert len(rows(db, "select from pgsched.tasks where status = 'pending'")) == 1
    assert len(rows(db, "select from pgsched.tasks where idempotency_key = 'k'")) == 1


def test_many_keys_in_any_order_do_not_deadlock(dsn: str, db: Database) -> None:
    keys = [f"key {number}" for number in range(20)]

    def work(client: Client, number: int) -> object:
        order = keys[number:] + keys[:number] if number % 2 else keys[::-1]
        return client.schedule_many(
            [TaskSpec(task_type="mail", idempotency_key=key) for key in order], on_conflict="replace"
        )

    _, raised = at_once(dsn, work)
    assert raised == []
    assert len(rows(db, "select from pgsched.tasks where status = 'pending'")) == len(keys)


def test_replacing_waits_for_a_claim_and_is_then_refused(dsn: str, client: Client, db: Database) -> None:
    first = put(client, "return")
    failed: list[Exception] = []

    def replace() -> None:
        try:
            put(client, "replace")
        except TransitionRefused as error:
            failed.append(error)

    with psycopg.connect(dsn, row_factory=dict_row) as claim:
        set_running(claim, first)
        thread = threading.Thread(target=replace)
        thread.start()
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%schedule_by_key%'"
        wait_until(lambda: bool(rows(db, waits)), message="the replacement waits")
        claim.commit()
        thread.join(30)
    assert len(failed) == 1
    assert task_row(db, first)["status"] == "running"


def test_replacing_waits_for_an_insert_and_replaces_that(dsn: str, client: Client, db: Database) -> None:
    done: list[Scheduled] = []
    with psycopg.connect(dsn) as other:
        first = client.schedule("mail", idempotency_key="k", connection=other)
        thread = threading.Thread(target=lambda: done.append(put(client, "replace")))
        thread.start()
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%schedule_by_key%'"
        wait_until(lambda: bool(rows(db, waits)), message="the replacement waits")
        other.commit()
        thread.join(30)
    assert [one.outcome for one in done] == ["replaced"]
    assert task_row(db, first)["status"] == "cancelled"
