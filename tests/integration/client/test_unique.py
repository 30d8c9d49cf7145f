"""One task for many calls: unique by what a task is, within a period, and debounced; from every face, and at once."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgsched import App, AsyncClient, Client, InvalidTask, KeyTaken, PgschedError, TaskSpec, TransitionRefused, Unique
from pgsched.db.migrations.runner import migrate
from pgsched.domain.errors import PermissionRefused
from pgsched.domain.scheduled import Scheduled
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows
from tests.support.roles import login
from tests.support.tables import database, set_backing_off, set_completed, set_dead, set_running, task_row
from tests.support.waiting import wait_until
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
PROCESSES = 4
HOUR = timedelta(hours=1)


def put(
    client: Client, payload: dict[str, Any] | None = None, unique: Unique | None = None, **options: Any
) -> Scheduled:
    return client.schedule("index", {"shop": 1} if payload is None else payload, unique=unique or Unique(), **options)


def age(db: Database, id: int, by: timedelta) -> None:
    """Let a task have been made earlier."""
    db.execute("update pgsched.tasks set created_at = created_at - %s where id = %s", (by, id))


# By what a task is.


def test_one_of_the_same_type_and_payload_is_returned(client: Client, db: Database) -> None:
    first = put(client, {"shop": 1, "why": "new"})
    again = put(client, {"why": "new", "shop": 1}, priority=9)
    other = put(client, {"shop": 2, "why": "new"})
    elsewhere = client.schedule("forget", {"shop": 1, "why": "new"}, unique=Unique())
    assert (first.outcome, again, again.outcome, again.differs) == ("created", first, "existing", ("priority",))
    assert len({first, other, elsewhere}) == 3
    assert task_row(db, first)["idempotency_key"].startswith("unique index ")
    assert client.get(key=task_row(db, first)["idempotency_key"]).id == first


def test_keys_of_the_payload_and_the_queue_may_be_what_counts(client: Client) -> None:
    by_shop = Unique(by=["payload.shop"])
    assert put(client, {"shop": 1, "n": 1}, by_shop) == put(client, {"shop": 1, "n": 2}, by_shop)
    assert put(client, {"n": 3}, by_shop) == put(client, {"shop": None}, by_shop) != put(client, {"shop": 2}, by_shop)
    alone = Unique(by=["queue"])
    a, default = put(client, {"n": 1}, alone, queue="a"), put(client, {"n": 1}, alone)
    assert a == put(client, {"n": 2}, alone, queue="a") != default == put(client, {"n": 2}, alone, queue="default")


def test_the_queue_is_that_of_the_handler(dsn: str, client: Client, db: Database) -> None:
    db.execute("select pgsched.set_defaults('handler', 'index', '{\"queue\": \"search\"}')")
    assert put(client, {}, Unique(by=["queue"])) == put(client, {}, Unique(by=["queue"]), queue="search")


def test_a_key_of_its_own_is_what_counts(client: Client) -> None:
    first = put(client, {"n": 1}, idempotency_key="k")
    assert put(client, {"n": 2}, idempotency_key="k") == first
    client.cancel(first)
    assert put(client, {"n": 2}, idempotency_key="k").outcome == "created"
    assert client.get(key="k").payload == {"n": 2}
    with pytest.raises(InvalidTask, match="by and idempotency_key exclude each other"):
        put(client, {}, Unique(by=["queue"]), idempotency_key="k")


def test_it_holds_while_it_waits_and_runs(client: Client, db: Database) -> None:
    first = put(client)
    for change in (set_running, set_backing_off):
        change(db, first)
        assert put(client) == first


@pytest.mark.parametrize(
    "end", [set_completed, set_dead, lambda db, id: db.execute("select pgsched.cancel(%s)", (id,))]
)
def test_one_that_is_over_gives_the_key_to_the_next(client: Client, db: Database, end: Callable[..., Any]) -> None:
    first = put(client)
    end(db, first)
    before = task_row(db, first)
    second = put(client)
    assert (second.outcome, second != first) == ("created", True)
    after = task_row(db, first)
    key = before.pop("idempotency_key")
    assert (after.pop("idempotency_key"), task_row(db, second)["idempotency_key"]) == (None, key)
    assert after | {"updated_at": None} == before | {"updated_at": None}


def test_a_running_one_holds_in_the_states_that_are_given_only(client: Client, db: Database) -> None:
    waiting = Unique(states=["pending", "blocked"])
    first = put(client, unique=waiting)
    assert put(client, unique=waiting) == first
    set_running(db, first)
    second = put(client, unique=waiting)
    assert second.outcome == "created"
    assert task_row(db, first)["status"] == "running"
    for_good = Unique(states=["pending", "blocked", "running", "completed"])
    set_completed(db, second)
    assert put(client, unique=for_good) == second


def test_a_group_under_way_runs(client: Client, db: Database) -> None:
    plan = {"steps": [{"task_type": "a"}]}
    waiting = Unique(states=["pending", "blocked"])
    first = client.schedule_group(plan, unique=waiting)
    set_running(db, first)
    db.execute("select pgsched.fire_group(%s, %s)", (first, task_row(db, first)["fencing_token"]))
    assert task_row(db, first)["status"] == "blocked"
    assert client.schedule_group(plan, unique=Unique()) == first
    assert client.schedule_group(plan, unique=waiting).outcome == "created"


def test_a_schedule_is_unique_too(client: Client) -> None:
    assert put(client, cron="0 8 * * *") == put(client, cron="0 9 * * *")


# Within a period: a throttle.


@pytest.mark.parametrize("end", [set_completed, set_dead])
def test_within_a_period_one_that_is_over_holds(client: Client, db: Database, end: Callable[..., Any]) -> None:
    throttled = Unique(within="1h")
    first = put(client, unique=throttled)
    end(db, first)
    dropped = put(client, unique=throttled)
    assert (dropped, dropped.outcome) == (first, "existing")
    age(db, first, HOUR)
    assert put(client, unique=throttled).outcome == "created"


def test_one_that_was_cancelled_does_not(client: Client) -> None:
    throttled = Unique(within="1h")
    client.cancel(put(client, unique=throttled))
    assert put(client, unique=throttled).outcome == "created"


def test_one_that_waits_holds_beyond_the_period_unless_no_state_does(client: Client, db: Database) -> None:
    first = put(client, unique=Unique(within="1h"), delay="1d")
    age(db, first, HOUR)
    assert put(client, unique=Unique(within="1h")) == first
    assert put(client, unique=Unique(within="1h", states=[])).outcome == "created"


async def test_one_that_has_left_holds_until_the_end_of_the_period(dsn: str, db: Database) -> None:
    ran = []

    async def index(shop: int) -> None:
        ran.append(shop)

    async with AsyncClient(dsn) as client, engine(dsn, handlers(index=index)) as one:
        await client.set_queue("default", retention="0")

        async def call(within: str, on_conflict: Any = "return") -> Scheduled:
            return await client.schedule("index", {"shop": 1}, unique=Unique(within=within), on_conflict=on_conflict)

        first = await call("1h")
        await one.work()
        assert (ran, rows(db, "select from pgsched.tasks")) == ([1], [])
        assert (await call("1h")).outcome == "existing"
        assert await call("1h") == first
        with pytest.raises(KeyTaken, match=f"is taken by task {first}"):
            await call("1h", "raise")
        with pytest.raises(TransitionRefused, match="is completed: it cannot be changed"):
            await call("1h", "update")
        assert (await call("1h", "replace")).outcome == "created"
        await one.work()
        assert (await call("1ms")).outcome == "created"


@pytest.mark.parametrize(
    ("on_conflict", "outcome"), [("keep", "existing"), ("update", "updated"), ("replace", "replaced")]
)
def test_on_conflict_says_what_becomes_of_it(client: Client, db: Database, on_conflict: Any, outcome: str) -> None:
    by_shop = Unique(by=["payload.shop"])
    first = put(client, {"shop": 1, "n": 1}, by_shop, delay="1h")
    second = put(client, {"shop": 1, "n": 2}, by_shop, delay="1h", on_conflict=on_conflict)
    assert (second.outcome, second == first) == (outcome, outcome != "replaced")
    assert task_row(db, second)["payload"]["n"] == (1 if outcome == "existing" else 2)
    with pytest.raises(KeyTaken):
        put(client, {"shop": 1, "n": 2}, by_shop, on_conflict="raise")


# Debounced.


def test_each_call_moves_the_task_and_changes_its_payload(client: Client, db: Database) -> None:
    debounced = Unique(by=["payload.cart"], debounce="30s")
    first = put(client, {"cart": 1, "n": 1}, debounced)
    due = task_row(db, first)["next_run_at"]
    again = put(client, {"cart": 1, "n": 2}, debounced, priority=9)
    row = task_row(db, first)
    assert (first.outcome, again, again.outcome) == ("created", first, "updated")
    assert (row["payload"], row["priority"]) == ({"cart": 1, "n": 2}, 9)
    assert row["created_at"] + timedelta(seconds=30) < row["next_run_at"]
    assert due < row["next_run_at"] == row["scheduled_for"] <= datetime.now(UTC) + timedelta(seconds=30)


def test_it_waits_no_longer_than_the_longest(client: Client, db: Database) -> None:
    debounced = Unique(debounce="30s", max_wait="45s")
    first = put(client, unique=debounced)
    age(db, first, timedelta(seconds=20))
    put(client, unique=debounced)
    row = task_row(db, first)
    assert row["next_run_at"] == row["created_at"] + timedelta(seconds=45)


def test_one_that_has_started_is_left_alone_and_another_made(client: Client, db: Database) -> None:
    debounced = Unique(debounce="30s")
    first = put(client, unique=debounced)
    set_running(db, first)
    second = put(client, unique=debounced)
    assert (second.outcome, second != first) == ("created", True)
    assert put(client, unique=debounced) == second
    assert task_row(db, first)["status"] == "running"
    set_completed(db, second)
    assert put(client, unique=debounced).outcome == "created"


@pytest.mark.parametrize(
    ("rule", "options", "problem"),
    [
        ({"by": ["tenant"]}, {}, "each of by must be queue, payload or payload.KEY, got 'tenant'"),
        ({"by": []}, {}, "by must name queue, payload or payload.KEY"),
        ({"within": 0}, {}, "within must be at least 1 microsecond"),
        ({"states": ["waiting"]}, {}, "each of states must be one of pending, running"),
        ({"states": []}, {}, "states must name one where there is no within"),
        ({"max_wait": 3}, {}, "max_wait needs debounce"),
        ({"debounce": 3, "within": 9}, {}, "debounce excludes within and states"),
        ({"debounce": 3, "max_wait": 1}, {}, "max_wait must not be less than debounce"),
        ({"debounce": 3}, {"on_conflict": "replace"}, 'debounce excludes on_conflict="replace"'),
        ({"debounce": 3}, {"delay": 3}, "debounce says when the task starts"),
        ({"debounce": 3}, {"cron": "0 8 * * *"}, "debounce says when the task starts"),
    ],
)
def test_what_makes_no_sense_is_refused(client: Client, rule: Any, options: Any, problem: str) -> None:
    with pytest.raises(InvalidTask, match=problem):
        put(client, {}, Unique(**rule), **options)
    assert client.list_tasks() == []


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("by => '{tenant}'", "each of by must be queue, payload or payload.KEY, got tenant"),
        ("by => '{}'", "by must name queue, payload or payload.KEY, got nothing"),
        ("within => '0'", "within must be more than 0, got 00:00:00"),
        (
            "states => '{waiting}'",
            "each of states must be pending, blocked, running, completed, dead or cancelled, got",
        ),
        ("states => '{}'", "states must name one where there is no within"),
        ("max_wait => '3s'", "max_wait needs debounce"),
        ("debounce => '3s', within => '9s'", "debounce excludes within and states"),
        ("debounce => '3s', max_wait => '1s'", "max_wait must not be less than debounce"),
        ("debounce => '3s', on_conflict => 'raise'", "debounce excludes on_conflict raise"),
        ("on_conflict => 'x'", "on_conflict must be return, keep, update, replace or raise, got x"),
    ],
)
def test_sql_refuses_it_too(db: Database, call: str, problem: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=problem):
        db.execute(f'select pgsched.schedule_unique(\'{{"task_type": "index"}}\', {call})'.encode())


# Rights.


def test_a_producer_takes_no_key_of_another_role_that_still_counts(dsn: str, database_name: str) -> None:
    migrate(dsn, roles=True)
    with database(dsn) as db, Client(dsn) as owner:
        theirs = put(owner)
        kept = put(owner, idempotency_key="k")
        with login(dsn, f"one_{database_name}", member_of="pgsched_producer") as mine, Client(mine) as client:
            assert put(client) == theirs
            with pytest.raises(PermissionRefused, match=f"task {theirs} has the idempotency_key unique index "):
                put(client, unique=Unique(states=["completed"]))
            with pytest.raises(PermissionRefused):
                put(client, unique=Unique(debounce="3s"))
            set_completed(db, theirs)
            set_completed(db, kept)
            own = put(client)
            assert own.outcome == "created"
            with pytest.raises(PermissionRefused, match=f"task {kept} has the idempotency_key k, and was inserted by"):
                put(client, idempotency_key="k")


# Every face.


async def test_every_face_means_the_same(dsn: str, db: Database) -> None:
    app = App(dsn=dsn)

    @app.task("index")
    async def index(shop: int, n: int = 0) -> None: ...

    rule = Unique(by=["payload.shop"], within="1h")
    key = '{"task_type": "index", "payload": {"shop": 1}}'
    first = index.schedule(shop=1, unique=rule)
    assert index.with_options(unique=rule).schedule(1, 2) == first
    assert await index.schedule_async(shop=1, n=3, unique=rule) == first
    assert await index.with_options(unique=rule).schedule_async(shop=1) == first
    assert app.client().schedule("index", {"shop": 1}, unique=rule).outcome == "existing"
    specs = [TaskSpec(task_type="index", payload={"shop": shop}) for shop in (2, 1, 2)]
    two, one, again = app.client().schedule_many(specs, unique=rule)
    assert (one, two, two.outcome, again.outcome) == (first, again, "created", "existing")
    async with AsyncClient(dsn) as client:
        assert await client.schedule("index", {"shop": 1}, unique=rule) == first
        assert await client.schedule_many(specs, unique=rule) == [two, first, two]
    called = rows(db, "select * from pgsched.schedule_unique(%s, '{payload.shop}', within => '1 hour')", key)
    assert called == [{"id": first, "outcome": "existing", "differs": []}]
    typed = ("task", "add", "index", "--payload", '{"shop": 1}', "--unique-by", "payload.shop", "--within", "1h")
    assert pgsched(*typed, dsn=dsn).stdout == f"{first} existing\n"
    said = pgsched(*typed, "--priority", "9", "--json", dsn=dsn)
    assert (json.loads(said.stdout)["outcome"], json.loads(said.stdout)["differs"]) == ("existing", ["priority"])
    assert said.stderr.strip().endswith(f"task {first} already exists and is left unchanged; it differs in priority")
    async with web(dsn) as http:
        body = {"task_type": "index", "payload": {"shop": 1}, "unique": {"by": ["payload.shop"], "within": "1h"}}
        answer = await http.post("/api/v1/tasks", json=body)
        assert (answer.status_code, answer.json()["id"], answer.json()["outcome"]) == (200, first, "existing")
        answer = await http.post("/api/v1/tasks", json=body | {"unique": {"by": ["shop"]}})
        assert (answer.status_code, answer.json()["field"]) == (422, "unique.by")
        body = {"task_type": "remind", "unique": {"debounce": 30, "max_wait": "1m"}}
        made = await http.post("/api/v1/tasks", json=body)
        moved = await http.post("/api/v1/tasks", json=body)
        assert (made.status_code, moved.status_code, moved.json()["outcome"]) == (201, 200, "updated")
        assert moved.json()["next_run_at"] > made.json()["next_run_at"]
        plan = {"steps": [{"task_type": "a"}], "unique": {}}
        group = (await http.post("/api/v1/groups", json=plan)).json()["id"]
        assert (await http.post("/api/v1/groups", json=plan)).json()["id"] == group
    debounced = ("task", "add", "remind", "--debounce", "30s", "--max-wait", "1m")
    assert pgsched(*debounced, dsn=dsn).stdout == f"{made.json()['id']} updated\n"
    assert pgsched("task", "add", "alone", "--unique", dsn=dsn).stdout.endswith(" created\n")
    assert pgsched("task", "add", "alone", "--unique-state", "pending", dsn=dsn).stdout.endswith(" existing\n")
    app.close()
    await app.close_async()


def test_it_is_part_of_the_callers_transaction(dsn: str, client: Client, db: Database) -> None:
    with psycopg.connect(dsn) as connection:
        put(client, connection=connection)
        connection.rollback()
    assert rows(db, "select from pgsched.tasks") == []


# At once, from processes of their own.


def _call(dsn: str, rule: dict[str, Any], calls: int, results: Any, ready: Any) -> None:
    with Client(dsn, pool_size=1) as client:
        client.stats()  # is connected
        ready.wait()
        results.put(
            [put(client, {"shop": 1, "n": n}, Unique(by=["payload.shop"], **rule)).outcome for n in range(calls)]
        )


def at_once(dsn: str, calls: int = 10, **rule: Any) -> Counter[str]:
    """How often each outcome came of calls from several processes that begin together."""
    spawn = multiprocessing.get_context("spawn")
    results, ready = spawn.Queue(), spawn.Barrier(PROCESSES)
    processes = [spawn.Process(target=_call, args=(dsn, rule, calls, results, ready)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = Counter(outcome for _ in processes for outcome in results.get(timeout=60))
    for process in processes:
        process.join(30)
    return found


@pytest.mark.parametrize(
    ("rule", "usual"),
    [({}, "existing"), ({"within": "1h"}, "existing"), ({"debounce": "30s", "max_wait": "1h"}, "updated")],
)
def test_of_many_processes_one_makes_it(dsn: str, db: Database, rule: dict[str, Any], usual: str) -> None:
    assert at_once(dsn, **rule) == Counter({"created": 1, usual: 10 * PROCESSES - 1})
    assert len(rows(db, "select from pgsched.tasks")) == 1


def test_of_many_processes_one_makes_the_next(dsn: str, client: Client, db: Database) -> None:
    first = put(client, unique=Unique(by=["payload.shop"]))
    set_completed(db, first)
    assert at_once(dsn) == Counter(created=1, existing=10 * PROCESSES - 1)
    assert len(rows(db, "select from pgsched.tasks")) == 2


def test_the_second_waits_for_the_first_and_finds_its_task(dsn: str, client: Client, db: Database) -> None:
    done: list[Scheduled] = []
    with psycopg.connect(dsn) as other:
        first = put(client, connection=other)
        thread = threading.Thread(target=lambda: done.append(put(client)))
        thread.start()
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%schedule_unique%'"
        wait_until(lambda: bool(rows(db, waits)), message="the second waits")
        other.commit()
        thread.join(30)
    assert [(one, one.outcome) for one in done] == [(first, "existing")]


def test_a_debounce_that_meets_a_claim_makes_another(dsn: str, client: Client, db: Database) -> None:
    """The call is not lost to the run that has begun."""
    first = put(client, unique=Unique(debounce="30s"))
    done: list[Scheduled] = []
    with psycopg.connect(dsn, row_factory=dict_row) as claim:
        set_running(claim, first)
        thread = threading.Thread(target=lambda: done.append(put(client, unique=Unique(debounce="30s"))))
        thread.start()
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%schedule_unique%'"
        wait_until(lambda: bool(rows(db, waits)), message="the call waits")
        claim.commit()
        thread.join(30)
    assert [one.outcome for one in done] == ["created"]
    assert task_row(db, first)["status"] == "running"


def test_many_in_any_order_do_not_deadlock(dsn: str, client: Client, db: Database) -> None:
    specs = [TaskSpec(task_type="index", payload={"n": n}) for n in range(30)]
    raised: list[PgschedError] = []

    def work(number: int) -> None:
        try:
            with Client(dsn, pool_size=1) as each:
                for _ in range(3):
                    each.schedule_many(specs[number:] + specs[:number], unique=Unique(debounce="30s"))
        except PgschedError as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 7, 14, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert raised == []
    assert len(rows(db, "select from pgsched.tasks")) == len(specs)
