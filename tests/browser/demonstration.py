"""A database as a small shop would have it on a busy morning: what the screenshots and the tests of all pages show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from tests.browser.states import WORKER, add_attempt, add_log, add_step, begin_run, die, end, start
from tests.support.roll_ups import count_all
from tests.support.tables import database, insert_task

Connection = psycopg.Connection[dict[str, Any]]

WORKERS = {
    WORKER: ("worker-a", 3121, ["default", "mail", "reports"], 20, 3),
    UUID("5d2e9a11-8c47-4f0a-b6de-7a3c5e9f1b02"): ("worker-b", 3188, ["media"], 4, 4),
    UUID("c9f4e6b8-1a23-4b5c-8d7e-2f6a9b0c3d03"): ("worker-c", 990, ["billing", "default", "imports"], 8, 1),
}
"""Host, pid, queues, slots and how many of them are taken."""
KINDS = (
    ("send_email", "mail", "template 'receipt' to a customer", 40, 180),
    ("thumbnail", "media", "three sizes of a picture", 300, 2_400),
    ("sync_stock", "default", "one warehouse", 80, 900),
    ("charge_card", "billing", "an order that was shipped", 200, 1_500),
    ("render_report", "reports", "sales of a day", 900, 8_000),
)
"""Type, queue, name, and the shortest and longest run in milliseconds."""
TRACEBACK = """BankRefused: card expired 2026-09 (order 48213, 64.90 EUR)

Traceback (most recent call last):
  File "/srv/shop/tasks/billing.py", line 88, in charge_card
    answer = await bank.charge(order.card, order.total, key=ctx.fencing_token)
  File "/srv/shop/bank/client.py", line 41, in charge
    raise BankRefused(answer.reason)
shop.bank.BankRefused: card expired 2026-09 (order 48213, 64.90 EUR)"""
ERRORS = (
    ("charge_card", "billing", "order 48213", TRACEBACK),
    (
        "send_email",
        "mail",
        "receipt of order 48190",
        "ConnectionRefusedError: [Errno 111] smtp.example.com:587\n\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/tasks/mail.py", line 27, in send_email\n'
        "    async with connect(host, timeout=10) as smtp:\n"
        "ConnectionRefusedError: [Errno 111] smtp.example.com:587",
    ),
    ("thumbnail", "media", "upload 9921.heic", "ValueError: unknown picture format: HEIC with 10 bits"),
    ("sync_stock", "default", "warehouse Łódź", "TimeoutError: no answer from the warehouse within 30 s"),
    ("send_email", "mail", "invoice of order 47001", "payload: missing argument 'subject' of send_email"),
    ("render_report", "reports", "sales of 2026-11-20", "the attempt took longer than its timeout of 5m"),
)
SCHEDULES = (
    ("render_report", "reports", "Sales of yesterday", "0 6 * * *", "Europe/Berlin"),
    ("render_report", "reports", "Month's end", "30 2 1 * *", "Europe/Berlin"),
    ("sync_stock", "default", "Warehouses, in opening hours", "*/15 7-19 * * mon-sat", "Europe/Warsaw"),
    ("send_email", "mail", "Newsletter", "0 9 * * tue", "America/New_York"),
    ("cleanup", "default", "Uploads nobody claimed", "20 3 * * *", "UTC"),
    ("charge_card", "billing", "Subscriptions that are due", "0 */2 * * *", "UTC"),
)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The ids of tasks that pages are looked at with."""

    dead: int
    running: int
    workflow: int
    schedule: int
    durable: int
    waiting: int
    worker: str
    error: str

    def paths(self) -> Mapping[str, str]:
        """Every page of the dashboard, by the name of its picture."""
        return {
            "overview": "/",
            "tasks": "/tasks",
            "tasks-filtered": "/tasks?status=dead",
            "tasks-searched": "/tasks?q=type%3Aemail+card&queue=mail&change=1",
            "views": "/views?query=status%3Adead",
            "bulk-changes": "/bulk",
            "bulk-change": "/bulk/1",
            "task-dead": f"/tasks/{self.dead}",
            "task-running": f"/tasks/{self.running}",
            "task-waiting": f"/tasks/{self.waiting}",
            "task-schedule": f"/tasks/{self.schedule}",
            "task-durable": f"/tasks/{self.durable}",
            "task-emit": f"/tasks/{self.durable}/emit?name=approved",
            "task-restart": f"/tasks/{self.durable}/restart?step=reserve&key=PX-1",
            "task-edit": f"/tasks/{self.schedule}/edit",
            "schedules": "/schedules",
            "upcoming": "/upcoming",
            "upcoming-week": "/upcoming?within=7d",
            "schedule-new": "/schedules/new",
            "task-backfill": f"/tasks/{self.schedule}/backfill",
            "calendars": "/calendars",
            "calendar-edit": "/calendars/edit?name=holidays",
            "workflows": "/workflows",
            "workflow": f"/workflows/{self.workflow}",
            "workflow-time": f"/workflows/{self.workflow}?view=time",
            "queues": "/queues",
            "queue-settings": "/queues/settings?queue=billing",
            "queue": "/queues/show?queue=imports",
            "workers": "/workers",
            "worker": f"/workers/{self.worker}",
            "dead": "/dead",
            "types": "/types",
            "type": "/types/type?name=send_email&within=24h",
            "errors": "/errors",
            "error": f"/errors/{self.error}",
            "error-retry": f"/errors/{self.error}/retry",
            "executions": "/executions",
            "doctor": "/doctor",
            "audit": "/audit",
        }


def fill(dsn: str) -> Filled:
    """Fill a fresh database, and count its history as the upkeep of a worker does."""
    with database(dsn) as connection:
        filled = _fill(connection)
    with ThreadPoolExecutor(1) as thread:  # the caller's may have Playwright's event loop
        thread.submit(lambda: asyncio.run(count_all(dsn))).result()
    with database(dsn) as connection:
        error = connection.execute("select fingerprint from pgsched.error_groups where exception = 'BankRefused'")
        row = error.fetchone()
    return replace(filled, error=row["fingerprint"] if row else "")


def _fill(connection: Connection) -> Filled:
    connection.execute("select setseed(0.42)")
    _add_past_days(connection)
    _add_workers(connection)
    _add_ended(connection)
    _add_hour(connection)
    _add_waiting(connection)
    schedules = [_add_schedule(connection, *one) for one in SCHEDULES]
    _add_change(connection, schedules[0])
    _add_repeating(connection)
    workflow = _add_workflow(connection)
    running = _add_running(connection)
    dead = _add_dead(connection)
    durable = _add_durable(connection)
    _set_queues(connection)
    connection.execute("insert into pgsched.calendars (name, days) values ('holidays', '{01-01,12-25,12-26}')")
    _add_searches(connection)
    _add_audit(connection, dead)
    connection.execute("analyze pgsched.tasks")
    waiting = connection.execute("select min(id) as id from pgsched.tasks where queue = 'imports'").fetchone()
    return Filled(
        dead=dead,
        running=running,
        workflow=workflow,
        schedule=schedules[0],
        durable=durable,
        waiting=waiting["id"] if waiting else 0,
        worker=str(next(iter(WORKERS))),
        error="",
    )


def _add_searches(connection: Connection) -> None:
    """Two saved views, and a change to many tasks that somebody has stopped."""
    connection.execute(
        """
        insert into pgsched.saved_views (name, query, saved_by)
        values ('dead-mail', 'queue:mail status:dead ended_after:24h', 'Ann'), ('vip', 'tag:vip', 'Ben')
        """
    )
    connection.execute(
        """
        insert into pgsched.bulk_changes (action, filter, described, status, actor, role, starts_at, ended_at, expected,
          before_id, looked_at, changed, unsuited)
        values ('retry', '{"queue": ["mail"]}', 'queue:mail status:dead', 'stopped', 'Ann', 'operator',
          now() - interval '2 minutes', now() - interval '1 minute', 100000, 17, 41500, 41480, '{21,20,19}')
        """
    )


def _add_past_days(connection: Connection) -> None:
    """The partitions that a database has which is older than some days."""
    connection.execute(
        """
        do $$
        declare
          parent text;
          today date := (now() at time zone 'UTC')::date;
        begin
          foreach parent in array array['executions', 'execution_logs', 'missed_ticks'] loop
            for day in 1..30 loop
              execute format('create table pgsched.%I partition of pgsched.%I for values from (%L) to (%L)',
                parent || to_char(today - day, '_YYYYMMDD'), parent,
                today - day || ' 0:00Z', today - day + 1 || ' 0:00Z');
            end loop;
          end loop;
        end $$
        """
    )


def _add_workers(connection: Connection) -> None:
    for one, (host, pid, queues, slots, taken) in WORKERS.items():
        connection.execute(
            """
            insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, running, started_at, lease,
              state, code_version, pgsched_version)
            values (%s, %s, %s, %s, %s, %s, %s, now() - interval '9 hours', interval '1 hour', 'active', '2030.1.3',
              '0.1.0')
            """,
            (
                one,
                host,
                pid,
                queues,
                [*(kind[0] for kind in KINDS), "cleanup", "import_catalogue", "pipeline_step"],
                slots,
                taken,
            ),
        )


def _add_ended(connection: Connection) -> None:
    """Tasks that went well in the last hours."""
    for task_type, queue, name, _least, _most in KINDS:
        connection.execute(
            """
            insert into pgsched.tasks (task_type, queue, task_name, payload, scheduled_for, created_at)
            select %s, %s, %s, jsonb_build_object('order', 48000 + n), now() - n * interval '95 seconds',
              now() - n * interval '95 seconds'
            from generate_series(1, 80) n
            """,
            (task_type, queue, name),
        )
    connection.execute(
        """
        update pgsched.tasks
        set status = 'completed', completed_at = scheduled_for + interval '1 second', next_run_at = null, attempts = 1,
          last_run_at = scheduled_for, result = '{"ok": true}'
        """
    )


def _add_hour(connection: Connection) -> None:
    """The attempts of an hour: a wave, and a few minutes in which the bank did not answer."""
    connection.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, worker_id, status, started_at, finished_at, duration_ms,
          error)
        select t.id, t.task_type, t.queue, 1, 1, %s, case when one.fails then 'failed' else 'completed' end, one.at,
          one.at + one.ms * interval '1 millisecond', one.ms,
          case when one.fails then 'TimeoutError: the bank said nothing' end
        from (
          select date_trunc('minute', now()) - m * interval '1 minute' + random() * interval '59 seconds' as at,
            80 + random() * 700 as ms, random() < case when m between 21 and 26 then 0.45 else 0.012 end as fails,
            1 + floor(random() * 400) as place
          from generate_series(1, 59) m
          cross join lateral generate_series(1, (290 + 130 * sin(m / 8.0) + 40 * random())::int)
        ) one
        join (select id, task_type, queue, row_number() over (order by id) as place from pgsched.tasks) t
          on t.place = one.place
        """,
        (WORKER,),
    )


def _add_waiting(connection: Connection) -> None:
    statement = """
        insert into pgsched.tasks (task_type, queue, task_name, payload, priority, scheduled_for)
        select %s, %s, %s, jsonb_build_object('order', 49000 + n), 1 + n %% 9, now() + n * %s::interval
        from generate_series(1, %s) n
        """
    connection.execute(statement, ("send_email", "mail", "reminder of a basket", "7 minutes", 60))
    connection.execute(statement, ("send_email", "mail", "receipt to a customer", "-40 milliseconds", 37))
    connection.execute(statement, ("import_catalogue", "imports", "supplier file", "-9 seconds", 240))


def _add_schedule(connection: Connection, task_type: str, queue: str, name: str, cron: str, zone: str) -> int:
    """A schedule that ran a few times and is booked for its next tick."""
    columns = {"queue": queue, "task_name": name, "cron_expression": cron, "timezone": zone}
    made = insert_task(connection, task_type, **columns, payload='{"days": 1}', tags=["shop", queue])
    connection.execute(
        """
        update pgsched.tasks
        set last_run_at = now() - interval '50 minutes', execution_count = 214,
          enabled = %s, created_at = now() - interval '200 days'
        where id = %s
        """,
        (name != "Newsletter", made),
    )
    for hours in range(1, 4):
        add_attempt(connection, made, "completed", began=f"{hours * 24} hours", seconds=4 + hours, number=1)
    return made


def _add_change(connection: Connection, schedule: int) -> None:
    """Somebody moved it by an hour."""
    connection.execute(
        """
        insert into pgsched.audit_log (at, actor, role, remote, action, task_id, before, after)
        values (now() - interval '3 hours', 'grace', 'operator', '10.0.4.21', 'task.edit', %s,
          '{"cron_expression": "0 5 * * *"}', '{"cron_expression": "0 6 * * *"}')
        """,
        (schedule,),
    )


def _add_repeating(connection: Connection) -> None:
    start = datetime.now(UTC) - timedelta(seconds=50)
    made = insert_task(
        connection, "sync_stock", repeat_interval="90 seconds", task_name="Stock of the outlet", start_date=start
    )
    connection.execute(
        """
        update pgsched.tasks
        set last_run_at = now() - interval '50 seconds', execution_count = 1402
        where id = %s
        """,
        (made,),
    )


def _add_workflow(connection: Connection) -> int:
    """A nightly import: some of it ended, one branch is dead, the rest waits."""
    ids: dict[str, int] = {}

    def add(name: str, *after: str, status: str = "", whatever: bool = False) -> None:
        ids[name] = insert_task(
            connection,
            "pipeline_step",
            queue="reports",
            task_name=name,
            depends_on=[ids[one] for one in after],
            on_dependency_dead="run" if whatever else "cancel",
        )
        if status == "completed":
            end(connection, ids[name])

    for source in ("fetch orders", "fetch stock", "fetch prices"):
        add(source, status="completed")
    add("match", "fetch orders", "fetch stock", "fetch prices", status="completed")
    add("price table", "match")
    add("stock alerts", "match")
    add("letters", "match", status="completed")
    add("warm the caches", "match")
    add("publish", "price table", "letters", "warm the caches")
    add("alert the buyers", "stock alerts")
    add("tell the team", "publish", "alert the buyers", whatever=True)
    start(connection, ids["price table"], began="70 seconds")
    die(connection, ids["stock alerts"], "KeyError: 'warehouse 7'", ago="3 minutes")
    connection.execute(
        "update pgsched.tasks set next_run_at = now() + interval '20 minutes' where id = %s", (ids["warm the caches"],)
    )
    connection.execute(
        "update pgsched.tasks set status = 'cancelled', completed_at = now() where id = %s", (ids["alert the buyers"],)
    )
    return ids["tell the team"]


def _add_running(connection: Connection) -> int:
    worker = iter(WORKERS)
    holders = [next(worker), next(worker), next(worker)]
    plan = [*(("thumbnail", "media", holders[1]),) * 4, ("charge_card", "billing", holders[2])]
    for at, (task_type, queue, holder) in enumerate(plan):
        made = insert_task(connection, task_type, queue=queue, task_name=f"upload {9930 + at}")
        start(connection, made, began=f"{at * 2 + 1} seconds", holder=holder)
    made = insert_task(
        connection,
        "render_report",
        queue="reports",
        task_name="Sales of the week",
        priority=8,
        payload=json.dumps({"from": "2026-11-15", "to": "2026-11-21", "sheets": ["sales", "returns", "stock"]}),
        timeout="5 minutes",
        tags=["shop", "weekly"],
        tenant_id="outlet",
        created_by="ada",
    )
    start(connection, made, began="42 seconds", holder=holders[0])
    connection.execute(
        "update pgsched.tasks set progress = %s, attempts = 2 where id = %s",
        (json.dumps({"sheet": "returns", "step": 2, "of": 3}), made),
    )
    add_attempt(connection, made, "failed", began="2 minutes", seconds=31, number=1, error=ERRORS[3][3])
    add_log(connection, made, "40 seconds", "info", "sheet is written", {"sheet": "sales", "rows": 18_204})
    return made


def _add_dead(connection: Connection) -> int:
    ids = []
    for at, (task_type, queue, name, error) in enumerate(ERRORS):
        made = insert_task(
            connection,
            task_type,
            queue=queue,
            task_name=name,
            payload=json.dumps({"order": 48213 - 7 * at, "card": "tok_8f2", "total": "64.90", "currency": "EUR"}),
            metadata=json.dumps({"source": "checkout", "ip": "203.0.113.7"}),
            tags=["shop", "eu"],
            tenant_id="outlet" if at else "main",
            created_by="checkout",
            idempotency_key=f"order {48213 - 7 * at}",
        )
        die(connection, made, error, ago=f"{at * 11 + 2} minutes")
        ids.append(made)
    first = ids[0]
    add_attempt(connection, first, "failed", began="3 minutes", seconds=12, number=1, error=ERRORS[0][3])
    add_attempt(connection, first, "timed_out", began="165 seconds", seconds=30, number=2, error=ERRORS[3][3])
    add_attempt(connection, first, "failed", began="125 seconds", seconds=5, number=3, error=ERRORS[0][3])
    add_log(connection, first, "178 seconds", "info", "asking the bank", {"total": "64.90", "currency": "EUR"})
    add_log(connection, first, "125 seconds", "warning", "the bank refused the card", {"reason": "expired"}, attempt=3)
    return first


def _add_durable(connection: Connection) -> int:
    """An order that was charged and booked, slept over, and waits for somebody's approval."""
    columns = {"queue": "billing", "tags": ["shop"], "created_by": "checkout"}
    made = insert_task(connection, "order", task_name="Order 48277", payload=json.dumps({"order": 48277}), **columns)
    child = insert_task(connection, "pick_parcel", task_name="Parcel of order 48277", parent_id=made, **columns)
    end(connection, child)
    begin_run(connection, made, ago="4 hours")
    add_step(connection, made, "step", "charge", "240 min", 2.4, attempts=2, result={"receipt": "ch_81f", "eur": 64.9})
    for number, key in enumerate(("PX-1", "PX-7")):
        add_step(
            connection, made, "step", "reserve", f"{239.9 - number * 0.01} min", 0.6, key=key, result={"shelf": "C4"}
        )
    add_step(connection, made, "sleep", "cool off", "239.87 min", 3 * 3600)
    add_step(
        connection,
        made,
        "step",
        "quote",
        "59.8 min",
        4.2,
        attempts=3,
        status="failed",
        error=ERRORS[1][3].splitlines()[-1],
    )
    add_step(connection, made, "child", "pick", "59.7 min", 190, child_id=child, result={"parcel": "1 of 1", "kg": 2.1})
    add_step(connection, made, "event", "address", "56 min", 22 * 60, result={"street": "Lange Reihe 7"})
    add_step(connection, made, "step", "label", "31 min", 1.7, result={"tracking": "00340434161094"})
    add_step(connection, made, "event", "approved", "30.9 min", None, wakes="2 days")
    for name, payload, ago, consumed in (
        ("address", {"street": "Lange Reihe 7"}, "34 min", "34 min"),
        ("note", "ring twice", "12 min", None),
    ):
        connection.execute(
            """
            insert into pgsched.durable_events (task_id, tick_number, name, payload, sent_by, sent_at, consumed_at)
            values (%s, 1, %s, %s, 'checkout', now() - %s::interval, now() - %s::interval)
            """,
            (made, name, json.dumps(payload), ago, consumed),
        )
    return made


def _set_queues(connection: Connection) -> None:
    connection.execute("insert into pgsched.queues (name, paused) values ('imports', true)")
    connection.execute("select pgsched.limit_queue('billing', concurrency => 4, rate => 10, per => '1 minute')")


def _add_audit(connection: Connection, dead: int) -> None:
    entries = (
        ("ada", "queue.pause", None, "imports", {"paused": False}, {"paused": True}),
        ("ada", "task.disable", 404, None, {"enabled": True}, {"enabled": False}),
        ("grace", "task.retry", dead, None, {"status": "dead", "attempts": 3}, {"status": "pending", "attempts": 0}),
        ("operator", "queue.limits", None, "billing", {"limits": {}}, {"limits": {"concurrency": 4, "rate": 10}}),
    )
    for at, (actor, action, task_id, queue, before, after) in enumerate(entries):
        connection.execute(
            """
            insert into pgsched.audit_log (at, actor, role, remote, action, task_id, queue, before, after)
            values (now() - %s * interval '13 minutes', %s, 'operator', '10.0.4.17', %s, %s, %s, %s, %s)
            """,
            (len(entries) - at, actor, action, task_id, queue, json.dumps(before), json.dumps(after)),
        )
