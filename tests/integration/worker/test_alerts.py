"""Silence is noticed: tasks without a success, and attempts that run, for longer than they say."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched.app.app import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.db.migrations import runner as module
from pgsched.db.migrations.runner import migrate
from pgsched.db.sql_files import load_statement, migrations
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.task_spec import TaskSpec
from pgsched.ops.doctor.tasks import MOST_ALERTS
from pgsched.worker.health_scan import HealthScan
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, make_due, nothing
from tests.support.roles import login
from tests.support.tables import WORKER, database, insert_task, set_completed, set_dead, set_running, task_row
from tests.support.web_face import web

DB = psycopg.Connection[dict[str, Any]]
NIGHTLY: dict[str, Any] = {"cron_expression": "0 3 * * *", "alert_if_no_success_for": "25 hours"}


def stand(db: DB, task_id: int, **columns: str) -> None:
    """Let a task stand as it would after some time: each column by an SQL expression, without triggers."""
    changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(f"update pgsched.tasks set {changes} where id = %s", (task_id,))


def nightly(db: DB, **columns: Any) -> int:
    """A nightly job that was made a month ago and whose next tick is in an hour; it has run."""
    task_id = insert_task(db, "nightly", **NIGHTLY | columns)
    month_ago = "now() - interval '30 days'"
    stand(
        db,
        task_id,
        created_at=month_ago,
        scheduled_for="now() + interval '1 hour'",
        next_run_at="now() + interval '1 hour'",
        last_run_at="now() - interval '23 hours'",
        execution_count="30",
    )
    return task_id


def attempt(db: DB, task_id: int, ago: str, status: str = "completed") -> None:
    """An attempt that ended so long ago, after five minutes."""
    db.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, scheduled_for, status, started_at, finished_at)
        select t.id, t.task_type, t.queue, 1, nextval('pgsched.tasks_id_seq'), e.began, %(status)s, e.began,
          now() - %(ago)s::interval
        from pgsched.tasks t, (select now() - %(ago)s::interval - interval '5 minutes' as began) e
        where t.id = %(id)s
        """,
        {"id": task_id, "ago": ago, "status": status},
    )


def watched(db: DB, task_id: int) -> dict[str, Any]:
    row = db.execute("select *, now() as now from pgsched.watched_tasks where task_id = %s", (task_id,)).fetchone()
    assert row is not None
    return row


def is_silent(db: DB, task_id: int) -> bool:
    return bool(watched(db, task_id)["is_silent"])


def assert_about(found: timedelta, wanted: timedelta) -> None:
    """The statements of a test have clocks that are a little apart."""
    assert abs(found - wanted) < timedelta(minutes=1)


# No success.


@pytest.mark.parametrize(("ago", "silent"), [("24 hours 59 minutes", False), ("25 hours 1 minute", True)])
def test_job_is_silent_when_its_last_success_is_longer_ago_than_it_says(db: DB, ago: str, silent: bool) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "49 hours")
    attempt(db, task_id, ago)
    assert is_silent(db, task_id) == silent


@pytest.mark.parametrize("status", ["failed", "timed_out", "lost", "cancelled"])
def test_job_that_fails_every_night_is_silent(db: DB, status: str) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "50 hours")
    for ago in ("26 hours", "2 hours"):
        attempt(db, task_id, ago, status)
    row = watched(db, task_id)
    assert row["is_silent"]
    assert_about(row["now"] - row["no_success_since"], timedelta(hours=50))


def test_task_without_a_limit_is_not_watched(db: DB) -> None:
    insert_task(db, "nightly", cron_expression="0 3 * * *")
    assert db.execute("select from pgsched.watched_tasks").fetchall() == []


def test_paused_job_is_not_silent_and_counts_from_when_it_was_enabled(db: DB) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "26 hours")
    assert is_silent(db, task_id)
    db.execute("select pgsched.disable(%s)", (task_id,))
    assert not is_silent(db, task_id)
    db.execute("select pgsched.enable(%s)", (task_id,))
    assert not is_silent(db, task_id)
    stand(db, task_id, judged_from="judged_from - interval '25 hours 1 second'")
    assert is_silent(db, task_id)


def test_job_of_a_paused_queue_is_not_silent_and_counts_from_when_the_queue_was_resumed(db: DB) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "26 hours")
    db.execute("insert into pgsched.queues (name, paused) values ('default', true)")
    assert not is_silent(db, task_id)
    db.execute("update pgsched.queues set paused = false")
    assert not is_silent(db, task_id)
    db.execute("update pgsched.queues set resumed_at = now() - interval '25 hours 1 second'")
    assert is_silent(db, task_id)


@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_ended_schedule_is_not_silent(db: DB, end: str) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "26 hours")
    set_completed(db, task_id)
    db.execute("update pgsched.tasks set status = %s where id = %s", (end, task_id))
    assert db.execute("select from pgsched.watched_tasks").fetchall() == []


@pytest.mark.parametrize("enabled_later", [False, True])
def test_job_that_is_not_due_yet_for_the_first_time_is_not_silent(db: DB, enabled_later: bool) -> None:
    task_id = nightly(db, enabled=not enabled_later)
    stand(db, task_id, last_run_at="null", execution_count="0", scheduled_for="now() + interval '40 days'")
    if enabled_later:
        db.execute("select pgsched.enable(%s)", (task_id,))
        stand(db, task_id, judged_from="now() - interval '26 hours'")
    assert not is_silent(db, task_id)
    row = watched(db, task_id)
    assert_about(row["no_success_since"] - row["now"], timedelta(days=40))


@pytest.mark.parametrize(("ago", "silent"), [("24 hours 59 minutes", False), ("25 hours 1 minute", True)])
def test_job_that_nobody_has_ever_run_counts_from_its_first_tick(db: DB, ago: str, silent: bool) -> None:
    task_id = nightly(db)
    stand(db, task_id, last_run_at="null", execution_count="0", scheduled_for=f"now() - interval '{ago}'")
    assert is_silent(db, task_id) == silent


def test_job_that_never_had_a_success_counts_from_the_first_tick_that_was_tried(db: DB) -> None:
    task_id = nightly(db, alert_if_no_success_for="10 days")
    attempt(db, task_id, "9 days 23 hours", "failed")
    attempt(db, task_id, "1 day", "failed")
    assert not is_silent(db, task_id)
    db.execute("update pgsched.executions set scheduled_for = scheduled_for - interval '1 hour'")
    assert is_silent(db, task_id)


def test_job_all_of_whose_ticks_were_missed_is_silent(db: DB) -> None:
    task_id = nightly(db, on_missed="skip")
    stand(db, task_id, last_run_at="null", execution_count="0")
    for ago in ("3 days", "1 day"):
        db.execute(
            "insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, noted_at)"
            " values (%s, 'nightly', 'default', 'skip', 1, now() - %s::interval, now() - %s::interval)",
            (task_id, ago, ago),
        )
    row = watched(db, task_id)
    assert_about(row["now"] - row["no_success_since"], timedelta(days=3))
    assert row["is_silent"]


def test_job_that_no_worker_has_planned_counts_from_when_it_was_made_or_begins(db: DB) -> None:
    task_id = nightly(db)
    stand(db, task_id, scheduled_for="null", last_run_at="null", execution_count="0")
    assert is_silent(db, task_id)
    stand(db, task_id, start_date="now() + interval '1 day'")
    assert not is_silent(db, task_id)


@pytest.mark.parametrize("status", ["pending", "running", "dead"])
def test_one_time_task_without_a_success_at_its_deadline_is_silent(db: DB, status: str) -> None:
    task_id = insert_task(db, "import", alert_if_no_success_for="1 hour")
    if status == "running":
        set_running(db, task_id)
    elif status == "dead":
        set_dead(db, task_id)
    stand(db, task_id, scheduled_for="now() - interval '59 minutes'")
    assert not is_silent(db, task_id)
    stand(db, task_id, scheduled_for="now() - interval '61 minutes'")
    assert is_silent(db, task_id)
    copy = insert_task(db, "import", parent_id=task_id)
    set_completed(db, copy)
    stand(db, copy, completed_at="now() - interval '1 day'")
    assert not is_silent(db, task_id), "somebody ran a copy of it, once is enough"


def test_tick_of_a_schedule_that_overlaps_itself_is_a_success_of_the_schedule(db: DB) -> None:
    task_id = nightly(db, overlap="allow")
    attempt(db, task_id, "26 hours")
    for done in (False, True):
        child = insert_task(db, "nightly", parent_id=task_id)
        if done:
            set_completed(db, child)
        assert is_silent(db, task_id) != done


def test_schedule_that_overlaps_itself_and_never_had_a_success_counts_from_its_first_tick(db: DB) -> None:
    task_id = nightly(db, overlap="allow")
    stand(db, task_id, last_run_at="null")
    for ago in ("24 hours", "26 hours"):
        child = insert_task(db, "nightly", parent_id=task_id)
        set_dead(db, child)
        stand(db, child, scheduled_for=f"now() - interval '{ago}'")
        assert is_silent(db, task_id) == (ago == "26 hours")


def test_step_of_a_group_is_no_success_of_the_group(db: DB, dsn: str) -> None:
    inner = {"steps": [{"name": "a", "task_type": "mail"}]}
    with Client(dsn) as client:
        plan = {"steps": [{"task_type": "mail"}, {"task_type": "pgsched.group", "payload": inner}]}
        group = client.schedule_group(plan, cron="0 3 * * *", alert_if_no_success_for="25h")
    stand(db, group, last_run_at="now() - interval '26 hours'", execution_count="1")
    attempt(db, group, "26 hours")
    for task_type, payload in (("mail", "{}"), ("pgsched.group", Jsonb(inner))):
        set_completed(db, insert_task(db, task_type, payload=payload, parent_id=group))
    assert is_silent(db, group)
    payload = Jsonb(task_row(db, group)["payload"])
    set_completed(db, insert_task(db, "pgsched.group", payload=payload, parent_id=group))
    assert not is_silent(db, group), "a copy of the group is one"


async def test_success_that_was_noted_outlives_its_history(dsn: str, db: DB) -> None:
    """Checked without the watchdog's note: the job counts from when it was made."""
    own, child = nightly(db), nightly(db, overlap="allow")
    attempt(db, own, "20 hours")
    copy = insert_task(db, "nightly", parent_id=child)
    set_completed(db, copy)
    stand(db, copy, completed_at="now() - interval '20 hours'")
    watchdog = HealthScan(dsn=dsn, worker=WORKER)
    assert await watchdog.run_once()
    db.execute("truncate pgsched.executions")
    db.execute("delete from pgsched.tasks where id = %s", (copy,))
    for task_id in (own, child):
        row = watched(db, task_id)
        assert not row["is_silent"]
        assert_about(row["now"] - row["no_success_since"], timedelta(hours=20))
        attempt(db, task_id, "1 minute", "failed")
        stand(db, task_id, judged_from="now() - interval '26 hours'")
        assert is_silent(db, task_id)


def test_clock_that_was_ahead_and_came_back_leaves_no_success_in_the_future(db: DB) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "26 hours")
    assert is_silent(db, task_id)
    attempt(db, task_id, "-70 years")
    copy = insert_task(db, "nightly", parent_id=task_id)
    set_completed(db, copy)
    stand(db, copy, completed_at="now() + interval '70 years'")
    stand(db, task_id, judged_from="now() + interval '70 years'")
    db.execute("insert into pgsched.queues (name, resumed_at) values ('default', now() + interval '70 years')")
    assert is_silent(db, task_id)
    db.execute(load_statement("note_successes"))
    assert is_silent(db, task_id)
    assert_about(watched(db, task_id)["now"] - task_row(db, task_id)["judged_from"], timedelta(hours=26))


def test_edit_of_a_limit_is_a_change_of_the_task(db: DB) -> None:
    task_id = insert_task(db, alert_if_running_for="1 hour", updated_at="2020-01-01Z")
    db.execute("update pgsched.tasks set alert_if_running_for = null where id = %s", (task_id,))
    assert task_row(db, task_id)["updated_at"].year > 2020


def test_success_is_noted_past_a_row_that_somebody_has_locked(dsn: str, db: DB) -> None:
    free, locked = nightly(db), nightly(db)
    for task_id in (free, locked):
        attempt(db, task_id, "1 hour")
    with database(dsn) as other, other.transaction():
        other.execute("select from pgsched.tasks where id = %s for update", (locked,))
        db.execute("set statement_timeout = '5s'")
        db.execute(load_statement("note_successes"))
    noted = db.execute("select id from pgsched.tasks where judged_from is not null").fetchall()
    assert noted == [{"id": free}]


async def test_success_of_a_real_run_ends_the_silence(dsn: str, db: DB) -> None:
    task_id = nightly(db)
    attempt(db, task_id, "26 hours")
    assert is_silent(db, task_id)
    async with engine(dsn, handlers(nightly=nothing)) as one:
        make_due(db, task_id)
        await one.work()
    assert not is_silent(db, task_id)


# A long run.


@pytest.mark.parametrize(("ago", "long"), [("59 minutes", False), ("61 minutes", True)])
def test_attempt_that_runs_for_longer_than_the_task_says_is_told_of(db: DB, ago: str, long: bool) -> None:
    task_id = insert_task(db, "import", alert_if_running_for="1 hour")
    assert not watched(db, task_id)["runs_too_long"]
    set_running(db, task_id)
    stand(db, task_id, started_at=f"now() - interval '{ago}'")
    row = watched(db, task_id)
    assert (row["runs_too_long"], row["running_task_id"]) == (long, task_id)
    stand(db, task_id, unbegun_token="fencing_token")
    assert not watched(db, task_id)["runs_too_long"], "it is held in advance and has not begun"


def test_attempt_that_has_ended_runs_no_longer(db: DB) -> None:
    task_id = insert_task(db, "import", cron_expression="0 3 * * *", alert_if_running_for="1 hour")
    stand(db, task_id, started_at="now() - interval '2 days'")
    assert not watched(db, task_id)["runs_too_long"]


def test_tick_of_a_schedule_that_overlaps_itself_runs_for_the_schedule(db: DB) -> None:
    task_id = nightly(db, overlap="allow", alert_if_running_for="1 hour")
    for ago in ("50 minutes", "70 minutes"):
        child = insert_task(db, "nightly", parent_id=task_id)
        set_running(db, child)
        stand(db, child, started_at=f"now() - interval '{ago}'")
    row = watched(db, task_id)
    assert (row["runs_too_long"], row["running_task_id"]) == (True, child)


def test_group_runs_from_its_first_step_to_its_last(db: DB) -> None:
    group = insert_task(
        db, "pgsched.group", payload='{"steps": [{"name": "a", "task_type": "mail"}]}', alert_if_running_for="1 hour"
    )
    set_running(db, group)
    token = db.execute("select fencing_token from pgsched.tasks where id = %s", (group,)).fetchone()
    assert token is not None
    db.execute("select pgsched.fire_group(%s, %s)", (group, token["fencing_token"]))
    assert not watched(db, group)["runs_too_long"]
    stand(db, group, last_run_at="now() - interval '61 minutes'")
    assert watched(db, group)["runs_too_long"]


# Where it is told.


def test_doctor_names_the_task_since_when_and_its_limit(dsn: str, db: DB) -> None:
    silent = nightly(db)
    attempt(db, silent, "50 hours")
    attempt(db, silent, "2 hours", "failed")
    long = insert_task(db, "import", alert_if_running_for="1 hour")
    set_running(db, long)
    stand(db, long, started_at="now() - interval '2 hours'")
    with Client(dsn) as client:
        diagnosis = client.doctor(checks=["silent_tasks", "long_runs"])
    assert not diagnosis.healthy()
    first, second = diagnosis.findings
    since = watched(db, silent)["no_success_since"]
    assert (first.check, first.severity, first.object) == ("silent_tasks", "error", f"task {silent} (nightly)")
    assert first.problem == (
        f"no success since {since:%Y-%m-%d %H:%M:%S} UTC; alert_if_no_success_for is 90000 secs (2 d 2 h ago)"
    )
    assert first.advice == f"pgsched task show {silent}"
    assert (second.check, second.severity, second.object) == ("long_runs", "warning", f"task {long} (import)")
    assert "alert_if_running_for is 3600 secs (2 h ago)" in second.problem


def test_doctor_names_the_first_ones_and_counts_the_others(dsn: str, db: DB) -> None:
    for _ in range(MOST_ALERTS + 2):
        attempt(db, nightly(db), "26 hours")
    with Client(dsn) as client:
        findings = client.doctor(checks=["silent_tasks"]).findings
    assert len(findings) == MOST_ALERTS + 1
    assert findings[-1].problem == "2 more tasks"


async def test_workers_look_for_silence_each_time_and_not_only_when_they_look_at_everything(dsn: str, db: DB) -> None:
    """Checked without "alerts" among the pressing questions: the second look does not find it."""
    task_id = nightly(db)
    attempt(db, task_id, "1 hour")
    watchdog = HealthScan(dsn=dsn, worker=WORKER)
    for silent in (False, True):
        if silent:
            db.execute("update pgsched.executions set finished_at = finished_at - interval '1 day'")
            stand(db, task_id, judged_from="null")
        assert await watchdog.run_once(every=0)
        (row,) = db.execute("select findings from pgsched.watchdog").fetchall()
        named = [one["object"] for one in row["findings"] if one["check"] == "silent_tasks"]
        assert named == ([f"task {task_id} (nightly)"] if silent else [])


def test_status_has_the_limits_that_are_passed(dsn: str, db: DB) -> None:
    task_id = nightly(db)
    with Client(dsn) as client:
        assert client.status(task_id).alerts == []
        stand(db, task_id, last_run_at="now() - interval '26 hours'")
        attempt(db, task_id, "26 hours")
        (alert,) = client.status(task_id).alerts
        assert (alert.kind, alert.row_id, alert.limit.to_text()) == ("silent", task_id, "90000 secs")
        assert alert.problem.startswith("no success since ")
        (told,) = client.status(task_id).as_dict()["alerts"]
        assert told | {"seconds": alert.seconds} == alert.as_dict()


async def test_metrics_count_them_and_what_died_by_queue_and_type(dsn: str, db: DB) -> None:
    for _ in range(2):
        attempt(db, nightly(db), "26 hours")
    long = insert_task(db, "import", queue="slow", alert_if_running_for="1 hour")
    set_running(db, long)
    stand(db, long, started_at="now() - interval '2 hours'")
    for ago in ("59 minutes", "1 minute", "61 minutes"):
        set_dead(db, insert_task(db, "mail"), ago=ago)
    async with engine(dsn, handlers(mail=nothing)) as one:
        await one.worker.table_gauges.renew()
        found = {
            family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
            for family in one.worker.table_gauges.collect()
        }
    assert found["pgsched_silent_tasks"] == {("default", "nightly"): 2}
    assert found["pgsched_long_runs"] == {("slow", "import"): 1}
    assert found["pgsched_died_last_hour"] == {("default", "mail"): 2}


def test_view_shows_a_producer_its_own_tasks_only(dsn: str, db: DB) -> None:
    nightly(db)
    migrate(dsn, roles=True)
    with (
        login(dsn, f"producer_{uuid4().hex}", member_of="pgsched_producer") as as_producer,
        database(as_producer) as producer,
    ):
        assert producer.execute("select * from pgsched.watched_tasks").fetchall() == []
        (row,) = producer.execute("select pgsched.schedule('own', alert_if_running_for => '1 hour') as id").fetchall()
        (own,) = producer.execute("select task_id from pgsched.watched_tasks").fetchall()
        assert own["task_id"] == row["id"]
        with Client(as_producer) as client:
            assert client.status(row["id"]).alerts == []


# How it is said.


@pytest.mark.parametrize("column", ["alert_if_no_success_for", "alert_if_running_for"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0.999 s", "at_least_1_second"),
        ("-1 day", "at_least_1_second"),
        ("1 month -1 day", "at_least_1_second"),
        ("1001 years", "at_most_1000_years"),
    ],
)
def test_senseless_limit_is_refused_by_the_database_with_the_column_and_the_rule(
    db: DB, column: str, value: str, rule: str
) -> None:
    task_id = insert_task(db)
    message = f"{column} must be {rule.replace('_', ' ')}, got"
    with pytest.raises(psycopg.errors.CheckViolation, match=message) as caught:
        insert_task(db, **{column: value})
    assert (caught.value.diag.constraint_name, caught.value.diag.column_name) == (f"{column}_must_be_{rule}", column)
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute(f"update pgsched.tasks set {column} = %s where id = %s", (value, task_id))


@pytest.mark.parametrize("option", ["alert_if_no_success_for", "alert_if_running_for"])
@pytest.mark.parametrize(
    ("value", "rule"), [(0.999, "be at least 1 second"), (-1, "not be negative"), ("12001mo", "be at most 1000 years")]
)
def test_senseless_limit_is_refused_by_python_in_the_same_words(option: str, value: Any, rule: str) -> None:
    with pytest.raises(InvalidTask, match=f"{option} must {rule}, got"):
        TaskSpec(task_type="mail", **{option: value})


def test_app_gives_tasks_of_a_handler_its_limits_and_a_declared_schedule_its_own(dsn: str, db: DB) -> None:
    app = App(dsn=dsn)

    @app.task("report", alert_if_running_for="1h")
    def report() -> None: ...

    @app.task("nightly", cron="0 3 * * *", alert_if_no_success_for="25h", alert_if_running_for="2h")
    def nightly() -> None: ...

    with app.client() as client:
        first = client.get(report.schedule())
        second = client.get(nightly.schedule())
    assert first.alert_if_running_for == Interval(microseconds=3_600_000_000)
    assert (second.alert_if_no_success_for, second.alert_if_running_for) == (None, Interval(microseconds=7_200_000_000))


def test_rights_on_the_function_schedule_outlive_its_new_arguments(empty_dsn: str) -> None:
    """Checked with a migration that only drops the function: the role may not call it any more."""
    before = tuple(takewhile(lambda one: one.name != "silence", migrations()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "migrations", lambda: before)
        migrate(empty_dsn)
    role = f"caller_{uuid4().hex}"
    with database(empty_dsn) as db:
        db.execute(f'create role "{role}"')
        try:
            db.execute(f'grant execute on function pgsched.schedule to "{role}"')
            migrate(empty_dsn)
            may = "select has_function_privilege(%s, 'pgsched.schedule'::regproc, 'execute') as may"
            assert [db.execute(may, (one,)).fetchone() for one in (role, "public")] == [{"may": True}, {"may": False}]
        finally:
            db.execute(f'drop owned by "{role}"')
            db.execute(f'drop role "{role}"')


# From every face.

GIVEN: dict[str, Any] = {"alert_if_no_success_for": "25h", "alert_if_running_for": "2h"}
LIMITS = (timedelta(hours=25), timedelta(hours=2))


def limits(db: DB, task_id: int) -> tuple[timedelta | None, timedelta | None]:
    row = task_row(db, task_id)
    return row["alert_if_no_success_for"], row["alert_if_running_for"]


def test_sql_takes_them_in_a_call_of_schedule(db: DB) -> None:
    given = "alert_if_no_success_for => '25 hours', alert_if_running_for => '2 hours'"
    (row,) = db.execute(f"select pgsched.schedule('mail', {given}) as id").fetchall()
    assert limits(db, row["id"]) == LIMITS


def test_client_schedules_edits_and_empties_them(dsn: str, db: DB) -> None:
    with Client(dsn) as client:
        one = client.schedule("mail", **GIVEN)
        spec = TaskSpec(task_type="mail", **GIVEN)
        many = client.schedule_many([spec, replace(spec, delay=60)])
        assert [limits(db, task_id) for task_id in (one, *many)] == [LIMITS] * 3
        client.update(one, alert_if_no_success_for="1d", alert_if_running_for=None)
        assert limits(db, one) == (timedelta(days=1), None)
        found = client.get(one)
    assert (found.alert_if_no_success_for, found.alert_if_running_for) == (Interval(days=1), None)


async def test_async_client_schedules_them_and_has_them_in_a_task(dsn: str, db: DB) -> None:
    async with AsyncClient(dsn) as client:
        task_id = await client.schedule("mail", **GIVEN)
        stand(db, task_id, scheduled_for="now() - interval '26 hours'")
        assert [one.kind for one in (await client.status(task_id)).alerts] == ["silent"]
    assert limits(db, task_id) == LIMITS


def test_command_line_adds_shows_edits_and_clears_them(dsn: str, db: DB) -> None:
    options = ("--alert-if-no-success-for", "25h", "--alert-if-running-for", "2h")
    task_id = int(pgsched("task", "add", "mail", *options, dsn=dsn).stdout)
    assert limits(db, task_id) == LIMITS
    stand(db, task_id, scheduled_for="now() - interval '26 hours'")
    shown = pgsched("task", "show", task_id, dsn=dsn).stdout
    assert re.search(r"^alert +no success since .* UTC; alert_if_no_success_for is 90000 secs$", shown, re.MULTILINE)
    pgsched("task", "edit", task_id, "--alert-if-no-success-for", "30h", "--clear", "alert-if-running-for", dsn=dsn)
    assert limits(db, task_id) == (timedelta(hours=30), None)


async def test_rest_creates_changes_and_shows_them(dsn: str, db: DB) -> None:
    async with web(dsn) as http:
        made = (await http.post("/api/v1/tasks", json={"task_type": "mail", **GIVEN})).json()
        assert limits(db, made["id"]) == LIMITS
        stand(db, made["id"], scheduled_for="now() - interval '26 hours'")
        shown = (await http.get(f"/api/v1/tasks/{made['id']}")).json()
        assert (shown["alert_if_no_success_for"], shown["alerts"][0]["kind"]) == ("90000 secs", "silent")
        changed = await http.patch(f"/api/v1/tasks/{made['id']}", json={"alert_if_running_for": None})
        assert changed.status_code == 200
        refused = await http.patch(f"/api/v1/tasks/{made['id']}", json={"alert_if_running_for": "0s"})
        assert (refused.status_code, limits(db, made["id"])) == (422, (LIMITS[0], None))
        described = (await http.get("/api/v1/openapi.json")).json()["components"]["schemas"]
    assert {*GIVEN} <= described["NewTask"]["properties"].keys() & described["Task"]["properties"].keys()


async def test_dashboard_has_them_in_its_form_and_tells_of_silence_on_the_page_of_the_task(dsn: str, db: DB) -> None:
    async with web(dsn) as http:
        answer = await http.post("/schedules/new", data={"task_type": "mail", "payload": "{}", **GIVEN})
        (row,) = db.execute("select id from pgsched.tasks").fetchall()
        assert (answer.status_code, limits(db, row["id"])) == (303, LIMITS)
        page = f"/tasks/{row['id']}"
        form = (await http.get(f"{page}/edit")).text
        assert re.search(r'name="alert_if_no_success_for"[^>]* value="25h"', form)
        await http.post(f"{page}/edit", data={"alert_if_no_success_for": "30h", "alert_if_running_for": ""})
        assert limits(db, row["id"]) == (timedelta(hours=30), None)
        assert "No success since" not in (await http.get(page)).text
        stand(db, row["id"], scheduled_for="now() - interval '31 hours'")
        assert re.search(r"No success since <time .*for 1 d 7 h; the limit is 30h", (await http.get(page)).text)
