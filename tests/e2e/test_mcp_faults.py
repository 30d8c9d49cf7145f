"""An agent-like script finds planted faults by the tools alone: at least 18 of 20, and none where nothing is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched.client.client import Client
from pgsched.domain.task_spec import TaskSpec
from pgsched.web import WebSettings, create_app
from tests.support.agent_diagnosis import Fault, diagnose
from tests.support.agents import agent, agent_within
from tests.support.roll_ups import add_attempts, count_all
from tests.support.tables import add_worker, database, insert_task, restoring, set_completed, set_dead, set_running
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, web

Db = psycopg.Connection[dict[str, Any]]
TYPES = ("mail", "report", "invoice", "import", "order")
ENOUGH = 18


class Scene:
    """A database at work, and names that nobody knows beforehand."""

    def __init__(self, dsn: str, db: Db, client: Client) -> None:
        self.dsn, self.db, self.client = dsn, db, client
        self.dice = random.Random()

    def name(self, kind: str) -> str:
        """A name as an application may have."""
        return f"{kind}-{self.dice.randrange(16**6):06x}"

    def queue(self) -> str:
        """A queue that the worker serves."""
        return self.name("queue")

    def later(self, id: int, by: str) -> None:
        """Let a task be due at another time."""
        self.db.execute(f"update pgsched.tasks set next_run_at = now() + interval '{by}' where id = %s", (id,))


def healthy(scene: Scene) -> None:
    """Work that nothing is wrong with: none of it may be found."""
    db = scene.db
    add_worker(db, queues=["default"], task_types=list(TYPES))
    scene.client.set_settings(retention="30d", history_retention="90d")
    scene.client.schedule_many([TaskSpec(task_type="mail", payload={"to": str(n)}, delay="1h") for n in range(40)])
    for _ in range(10):
        set_completed(db, insert_task(db, scene.dice.choice(TYPES)))
    insert_task(db, "report", depends_on=[insert_task(db, "import", scheduled_for=datetime.now(UTC) + timedelta(1))])
    insert_task(db, "report", cron_expression="0 8 * * *", timezone="Europe/Berlin")
    set_dead(db, insert_task(db, "order"), ago="3 days", error="ValueError: an old one")
    scene.client.limit_queue("idle", concurrency=2)


def paused_queue(scene: Scene) -> Fault:
    queue = scene.queue()
    scene.client.schedule("mail", queue=queue)
    scene.client.pause_queue(queue, paused_by="ada")
    return Fault("queue_paused", queue)


def deaths_after_a_deployment(scene: Scene) -> Fault:
    version = f"2026.{scene.dice.randrange(1000)}"
    since = datetime.now(UTC) - timedelta(minutes=30)
    scene.db.execute(
        "insert into pgsched.handler_versions (task_type, since, version, code) values ('invoice', %s, %s, %s)",
        (since, version, version),
    )
    ended = datetime.now(UTC) - timedelta(minutes=20)
    for _ in range(8):
        id = insert_task(scene.db, "invoice")
        error = "KeyError: 'vat'"
        add_attempts(scene.db, ended=ended, task_type="invoice", status="failed", error=error, attempt=3, task_id=id)
        set_dead(scene.db, id, ago="20 minutes", error=error)
    return Fault("dead_since_deployment", f"invoice {version}")


def dependency_that_is_dead(scene: Scene) -> Fault:
    first = insert_task(scene.db, "import")
    waiting = insert_task(scene.db, "report", depends_on=[first], on_dependency_dead="wait")
    set_dead(scene.db, first, ago="2 days")
    return Fault("waits_for_dead_task", str(waiting))


def disabled_schedule(scene: Scene) -> Fault:
    id = insert_task(scene.db, "report", cron_expression="0 3 * * *")
    scene.client.disable(id)
    return Fault("schedule_disabled", str(id))


def type_without_a_handler(scene: Scene) -> Fault:
    task_type = scene.name("thumbnail")
    insert_task(scene.db, task_type)
    return Fault("unknown_types", f"{task_type} in default")


def silent_worker_with_a_lease(scene: Scene) -> Fault:
    host = scene.name("host")
    add_worker(scene.db, queues=["mail"], task_types=["mail"], silent_for="10 minutes")
    scene.db.execute("update pgsched.workers set hostname = %s where heartbeat_at < now() - interval '5 min'", (host,))
    set_running(scene.db, insert_task(scene.db, queue="mail"), lease="-6 minutes")
    return Fault("silent_workers", f"{host} 1")


def key_at_its_limit(scene: Scene) -> Fault:
    queue = scene.queue()
    scene.client.limit_queue(queue, concurrency_per_key=1)
    holder = insert_task(scene.db, queue=queue, concurrency_key="acme")
    set_running(scene.db, holder)
    scene.db.execute(
        "insert into pgsched.slots (queue, key, task_id, fencing_token)"
        " select queue, concurrency_key, id, fencing_token from pgsched.tasks where id = %s",
        (holder,),
    )
    scene.db.execute(
        "update pgsched.tasks set locked_by = (select id from pgsched.workers order by heartbeat_at desc limit 1)"
        " where id = %s", (holder,),
    )  # fmt: skip
    insert_task(scene.db, queue=queue, concurrency_key="acme")
    return Fault("key_limit", queue)


def rate_used_up(scene: Scene) -> Fault:
    queue = scene.queue()
    scene.client.limit_queue(queue, rate=1, per="1h")
    scene.db.execute(
        "insert into pgsched.starts (queue, key, since, at, number) values (%s, '', now(), now(), 1)", (queue,)
    )
    insert_task(scene.db, queue=queue)
    return Fault("rate_limit", queue)


def missed_ticks_of_a_zone(scene: Scene) -> Fault:
    zone = scene.dice.choice(["Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"])
    id = insert_task(scene.db, "report", cron_expression="0 9 * * *", timezone=zone, on_missed="skip")
    scene.db.execute(
        "insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)"
        " values (%s, 'report', 'default', 'skip', 2, now() - interval '2 days')",
        (id,),
    )
    return Fault("ticks_missed", f"{id} in {zone}")


def expired_task(scene: Scene) -> Fault:
    queue = scene.queue()
    scene.client.pause_queue(queue)
    soon = datetime.now(UTC) + timedelta(milliseconds=50)
    id = scene.client.schedule("mail", queue=queue, expires_at=soon)
    scene.db.execute("select pg_sleep(0.1)")
    scene.db.execute("select pgsched.expire_tasks()")
    scene.client.resume_queue(queue)
    return Fault("expired", str(int(id)))


def payload_of_newer_code(scene: Scene) -> Fault:
    task_type = "import"
    id = insert_task(scene.db, task_type)
    versions = Jsonb([{"version": "2"}])
    scene.db.execute("insert into pgsched.handlers (task_type, versions) values (%s, %s)", (task_type, versions))
    scene.db.execute("update pgsched.handlers set misfit_at = now(), misfit_task_id = %s", (id,))
    error = f"payload does not fit handler '{task_type}', and waits for newer code (version '2'): no 'cc'"
    scene.db.execute("update pgsched.tasks set last_error = %s where id = %s", (error, id))
    scene.later(id, "60 seconds")
    return Fault("misfits", task_type)


def time_in_the_far_future(scene: Scene) -> Fault:
    when = datetime.now(UTC) + timedelta(days=365 * scene.dice.randrange(40, 900))  # milliseconds taken for seconds
    return Fault("due_in_far_future", str(insert_task(scene.db, scheduled_for=when)))


def key_of_a_dead_task(scene: Scene) -> Fault:
    key = scene.name("order")
    set_dead(scene.db, insert_task(scene.db, "order", idempotency_key=key), ago="2 days")
    assert scene.client.schedule("order", idempotency_key=key).outcome == "existing"
    return Fault("key_held_by_dead_task", key)


def group_with_a_dead_step(scene: Scene) -> Fault:
    group = insert_task(scene.db, "pgsched.group", payload=Jsonb({"steps": ["import"]}))
    step = insert_task(scene.db, "import", parent_id=group)
    set_dead(scene.db, step, ago="2 days")
    with restoring(scene.db):
        scene.db.execute(
            "update pgsched.tasks set status = 'blocked', next_run_at = null, fired = %s, waiting_for = 1"
            " where id = %s",
            ([step], group),
        )
    return Fault("group_held_by_dead_step", str(group))


def row_set_aside(scene: Scene) -> Fault:
    queue = scene.queue()
    id = insert_task(scene.db, queue=queue)
    scene.db.execute(
        "insert into pgsched.set_aside (worker_id, task_id, task_type, queue, operation, reason, tries, since)"
        " select id, %s, 'mail', %s, 'claim', 'a check of the shop', 4, now() from pgsched.workers"
        " order by heartbeat_at desc limit 1",
        (id, queue),
    )
    return Fault("set_aside", f"claim in {queue}")


def missing_index(scene: Scene) -> Fault:
    scene.db.execute("drop index pgsched.tasks_dead")
    return Fault("indexes", "tasks_dead")


@contextmanager
def session_that_holds_rows(scene: Scene) -> Iterator[Fault]:
    """Idle in a transaction, with a lock on a row, for longer than the doctor minds."""
    with psycopg.connect(scene.dsn, application_name="psql of somebody") as holder:
        holder.execute("select from pgsched.tasks where id = 1 for update")
        yield Fault("held_locks", str(holder.info.backend_pid))


def dead_rows(scene: Scene) -> Fault:
    scene.db.execute("insert into pgsched.turns (queue, key) select 'q' || g, 'x' from generate_series(1, 12000) as g")
    scene.db.execute("delete from pgsched.turns")
    scene.db.execute("select pg_stat_force_next_flush()")
    return Fault("dead_rows", "turns")


def retention_off(scene: Scene) -> Fault:
    scene.client.set_settings(retention=None, history_retention=None)
    return Fault("nothing_is_deleted", "settings")


PLANTS: tuple[Callable[[Scene], Fault], ...] = (
    paused_queue, deaths_after_a_deployment, dependency_that_is_dead, disabled_schedule, type_without_a_handler,
    silent_worker_with_a_lease, key_at_its_limit, rate_used_up, missed_ticks_of_a_zone, expired_task,
    payload_of_newer_code, time_in_the_far_future, key_of_a_dead_task, group_with_a_dead_step, row_set_aside,
    missing_index, dead_rows, retention_off,
)  # fmt: skip


async def limit_changed_by_somebody(scene: Scene) -> Fault:
    queue = scene.queue()
    async with web(scene.dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
        assert (await http.put(f"/api/v1/queues/{queue}/limits", json={"concurrency": 1})).status_code == 200
    return Fault("queue_changed", f"{queue} by operator")


@pytest.mark.long
async def test_agent_finds_planted_faults_by_the_tools_alone(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        db, client = stack.enter_context(database(dsn)), stack.enter_context(Client(dsn))
        scene = Scene(dsn, db, client)
        healthy(scene)
        async with agent_within(create_app(dsn, settings=WebSettings()), "operator") as one:
            before = set(await diagnose(one))
        assert {fault.kind for fault in before} <= {"durability"}, "the tests' own server is not careful"

        planted: list[tuple[Callable[..., Any], Fault]] = [(plant, plant(scene)) for plant in PLANTS]
        planted += [(limit_changed_by_somebody, await limit_changed_by_somebody(scene))]
        await count_all(dsn)
        planted += [(session_that_holds_rows, stack.enter_context(session_that_holds_rows(scene)))]
        assert len(planted) == 20
        db.execute("select pg_sleep(6)")  # a lock is minded after five seconds
        db.execute(
            "update pgsched.workers set heartbeat_at = now(), queues ="
            " (select array_agg(distinct queue) from pgsched.tasks) where heartbeat_at > now() - interval '5 min'"
        )

        async with agent(dsn, "--name", "night watch", operator=True) as one:
            found = set(await diagnose(one)) - before
            calls = one.calls
            queue = next(fault.object for fault in found if fault.kind == "queue_paused")
            resumed = await one.call("resume_queue", name=queue, reason="nobody knows why it was paused")
            assert not resumed["paused"]
            (noted, *_) = (await one.call("list_audit"))["items"]
            assert (noted["actor"], noted["action"]) == ("night watch (mcp)", "queue.resume")
    for plant, fault in planted:
        said = plant.__name__.replace("_", " ")
        print(f"| {said} | `{fault.kind}` | {fault.object} | {'found' if fault in found else 'not found'} |")
    hits = [fault for _, fault in planted if fault in found]
    others = sorted(found - set(hits))
    print(f"{len(hits)} of {len(planted)} found with {calls} calls; also named: {others}")
    assert len(hits) >= ENOUGH, sorted(found)
