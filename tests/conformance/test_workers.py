"""What every worker does, in whatever language: the same tests against real processes of each.

The first line of a test's docstring is its row in docs/worker_protocol.md.
"""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta
from typing import Any

from tests.conformance.workers import LEASE, Stage
from tests.support.tables import restoring
from tests.support.waiting import wait_until


def test_task_runs_once(workers: Stage) -> None:
    """A task runs once; its result and history are stored"""
    workers.start()
    task = workers.insert("note")
    row = workers.ended(task)
    assert (row["result"], row["attempts"], row["execution_count"], row["last_error"]) == ({"attempt": 1}, 1, 1, None)
    (execution,) = workers.history(task)
    assert (execution["status"], execution["attempt"], execution["result"]) == ("completed", 1, {"attempt": 1})
    assert execution["finished_at"] >= execution["started_at"] >= row["created_at"]
    assert [effect["token"] for effect in workers.effects(task)] == [execution["fencing_token"]]


def test_worker_is_listed(workers: Stage) -> None:
    """A worker is listed with its version and types, and removed when it stops"""
    worker = workers.start(concurrency=7)
    (row,) = workers.db.execute("select * from pgsched.workers").fetchall()
    assert (row["pid"], row["queues"], row["concurrency"], row["state"]) == (worker.pid, ["default"], 7, "active")
    assert "hold" in row["task_types"]
    assert row["pgsched_version"].startswith("0.1.0" if workers.language == "python" else "typescript 0.1.0 (node ")
    assert worker.stop() == 0
    assert workers.db.execute("select from pgsched.workers").fetchall() == []


def test_copy_is_refused(workers: Stage) -> None:
    """A worker refuses to start in a copy of a database, with the database's sentence, until somebody adopts it"""
    workers.db.execute("select pgsched.adopt_database()")
    workers.db.execute("update pgsched.database_identity set database_oid = 1, database_name = 'shop'")
    task = workers.insert("note")
    refused = workers.launch()
    assert refused.wait() == 1
    state = workers.db.execute("select state, problem from pgsched.database_state()").fetchone()
    assert state is not None
    assert state["state"] == "copy"
    assert state["problem"] in refused.output
    assert workers.db.execute("select from pgsched.workers").fetchall() == []
    assert workers.task(task)["attempts"] == 0
    workers.db.execute("select pgsched.adopt_database()")
    workers.start()
    workers.ended(task)


def test_kill_is_taken_over(workers: Stage) -> None:
    """`kill -9` during work: another worker takes over after the lease; the attempt counts and is recorded as lost"""
    first = workers.start()
    task = workers.insert("hold")
    lost = workers.wait_for_lease(task)
    workers.wait_for_effect(task, "began")
    first.kill()
    workers.start()
    workers.wait_for_effect(task, "began", number=2)
    workers.open_gate(task)
    assert workers.ended(task)["attempts"] == 2
    history = workers.history(task)
    assert [(row["status"], row["attempt"]) for row in history] == [("lost", 1), ("completed", 2)]
    assert history[0]["worker_id"] == lost != history[1]["worker_id"]
    assert (history[0]["finished_at"] - history[0]["started_at"]).total_seconds() >= LEASE * 0.9


def test_heartbeat_keeps_the_lease(workers: Stage) -> None:
    """A handler that runs for three leases keeps its task: heartbeats renew the lease"""
    workers.start()
    workers.start()
    task = workers.insert("hold")
    workers.wait_for_effect(task, "began")
    began = workers.task(task)["started_at"]
    wait_until(lambda: workers.task(task)["locked_until"] > began + timedelta(seconds=3 * LEASE))
    workers.open_gate(task)
    workers.ended(task)
    assert workers.statuses(task) == [("completed", 1)]


def test_zombie_is_fenced(workers: Stage) -> None:
    """A zombie (SIGSTOP for longer than its lease, then SIGCONT): its result is fenced, the other worker's is kept"""
    zombie = workers.start()
    task = workers.insert("hold")
    workers.wait_for_lease(task)
    workers.wait_for_effect(task, "began")
    zombie.signal(signal.SIGSTOP)
    other = workers.start()
    workers.wait_for_effect(task, "began", number=2)
    workers.open_gate(task)
    workers.ended(task)
    zombie.signal(signal.SIGCONT)
    zombie.wait_for("lease_lost|finish_fenced")
    after = workers.insert("note")
    workers.ended(after)
    assert (zombie.stop(), other.stop()) == (0, 0)
    assert workers.statuses(task) == [("lost", 1), ("completed", 2)]
    assert workers.task(task)["result"] == 2


def test_retries_then_dead(workers: Stage) -> None:
    """A failed task is retried after its backoff, and is dead after its last attempt"""
    workers.start()
    task = workers.insert("fail", max_attempts=3, backoff="exponential", backoff_delay="300 ms", backoff_jitter=0)
    row = workers.ended(task, "dead")
    assert workers.statuses(task) == [("failed", 1), ("failed", 2), ("failed", 3)]
    first, second, third = workers.history(task)
    assert second["started_at"] - first["finished_at"] >= timedelta(milliseconds=290)
    assert third["started_at"] - second["finished_at"] >= timedelta(milliseconds=590)
    assert row["died_at"] is not None
    assert "no luck" in row["last_error"].split("\n")[0]
    assert row["next_run_at"] is None


def test_retry_after(workers: Stage) -> None:
    """`Retry` sets the delay before the next attempt"""
    workers.start()
    task = workers.insert("retry", {"after": 0.7}, backoff_delay="1 hour")
    assert workers.ended(task)["result"] == "second"
    first, second = workers.history(task)
    assert first["status"] == "failed"
    assert first["error"].startswith("Retry: later")
    assert second["started_at"] - first["finished_at"] >= timedelta(milliseconds=690)


def test_snooze_is_not_counted(workers: Stage) -> None:
    """`Snooze` postpones a task without counting the attempt"""
    workers.start()
    task = workers.insert("snooze", {"times": 3}, max_attempts=1)
    assert workers.ended(task)["result"] == 1
    assert workers.statuses(task) == [("cancelled", 0)] * 3 + [("completed", 1)]


def test_discard_is_dead_at_once(workers: Stage) -> None:
    """`Discard` marks a task as dead, regardless of the attempts left"""
    workers.start()
    task = workers.insert("discard", max_attempts=5)
    assert workers.ended(task, "dead")["last_error"].startswith("Discard: never")
    assert workers.statuses(task) == [("failed", 1)]


def test_delay(workers: Stage) -> None:
    """A delayed task does not start early, and an insert wakes a sleeping worker"""
    workers.start()
    late = workers.insert("note", delay="1 second")
    soon = workers.insert("note")
    workers.ended(late)
    workers.ended(soon)
    (effect,) = workers.effects(late)
    assert effect["at"] >= workers.task(late)["scheduled_for"]
    assert effect["id"] > workers.effects(soon)[0]["id"]


def test_repeating_schedule(workers: Stage) -> None:
    """A repeating schedule runs at each tick, and ends after `repeat_count`"""
    workers.start()
    task = workers.insert("note", repeat_interval="300 ms", repeat_count=3)
    assert workers.ended(task)["execution_count"] == 3
    ticks = [row["scheduled_for"] for row in workers.history(task)]
    assert len(set(ticks)) == 3
    start = workers.task(task)["start_date"]
    assert all((tick - start) % timedelta(milliseconds=300) == timedelta() for tick in ticks)
    assert len(workers.effects(task, "ran")) == 3


def test_cron_schedule_goes_on(workers: Stage) -> None:
    """A cron schedule continues: each finish sets the next tick; `Finished` ends it"""
    workers.start()
    task = workers.insert("note", cron_expression="* * * * * *", timezone="Europe/Berlin")
    workers.wait_for_effect(task, "ran", number=2)
    wait_until(lambda: workers.task(task)["execution_count"] >= 2)
    row = workers.task(task)
    assert row["status"] in ("pending", "running")
    assert all(one["scheduled_for"].microsecond == 0 for one in workers.history(task))
    over = workers.insert("finish", cron_expression="* * * * * *")
    assert workers.ended(over)["result"] == "enough"
    assert len(workers.effects(over)) == 1


def test_failed_tick_is_kept(workers: Stage) -> None:
    """A tick that fails for good leaves a dead task, and its schedule continues"""
    workers.start()
    task = workers.insert("fail", repeat_interval="200 ms", repeat_count=2, max_attempts=1)
    assert workers.ended(task)["execution_count"] == 2
    dead = workers.db.execute("select * from pgsched.tasks where parent_id = %s order by id", (task,)).fetchall()
    assert [(row["status"], row["attempts"]) for row in dead] == [("dead", 1), ("dead", 1)]


def test_missed_ticks_become_one(workers: Stage) -> None:
    """Ticks that passed while no worker ran become one run (`on_missed`), and are recorded"""
    with restoring(workers.db):
        (row,) = workers.db.execute(
            """
            insert into pgsched.tasks (task_type, repeat_interval, start_date, scheduled_for, planned_from, end_date)
            select 'note', '1 minute', at, at, at, now() from (select now() - interval '10 minutes 5 seconds' as at) a
            returning id
            """
        ).fetchall()
    workers.start()
    task = row["id"]
    workers.ended(task)
    assert len(workers.effects(task)) == 1
    (missed,) = workers.db.execute("select * from pgsched.missed_ticks where task_id = %s", (task,)).fetchall()
    assert (missed["reason"], missed["ticks"]) == ("once", 10)
    (execution,) = workers.history(task)
    assert execution["scheduled_for"] == missed["next_tick"]


def test_overlapping_ticks(workers: Stage) -> None:
    """Ticks of a schedule that allows overlap run in parallel, as separate tasks"""
    workers.start()
    task = workers.insert("overlong", {"seconds": 0.6}, repeat_interval="200 ms", repeat_count=3, overlap="allow")
    workers.ended(task)

    def children() -> list[dict[str, object]]:
        found = workers.db.execute("select * from pgsched.tasks where parent_id = %s order by id", (task,)).fetchall()
        return found if len(found) == 3 and all(row["status"] == "completed" for row in found) else []

    assert len({row["scheduled_for"] for row in wait_until(children)}) == 3
    (row,) = workers.db.execute(
        """
        select max(b.at) < min(e.at) as overlap from effects b, effects e
        where b.what = 'began' and e.what = 'ended' and b.task_id > %(id)s
        """,
        {"id": task},
    ).fetchall()
    assert row["overlap"]


def test_cancel_stops_the_handler(workers: Stage) -> None:
    """Cancelling stops the running handler, and its result is not written"""
    worker = workers.start(concurrency=1)
    task = workers.insert("hold")
    workers.wait_for_lease(task)
    workers.wait_for_effect(task, "began")
    workers.db.execute("select pgsched.cancel(%s)", (task,))
    workers.wait_for_effect(task, "stopped")
    after = workers.insert("note")
    workers.ended(after)
    row = workers.ended(task, "cancelled")
    assert (row["result"], workers.statuses(task)) == (None, [("cancelled", 1)])
    assert worker.stop() == 0


def test_timeout(workers: Stage) -> None:
    """A handler that exceeds the timeout is stopped; the attempt is recorded as timed out and retried"""
    workers.start()
    task = workers.insert("hold", timeout="300 ms", max_attempts=2, backoff_delay="50 ms")
    row = workers.ended(task, "dead")
    assert workers.statuses(task) == [("timed_out", 1), ("timed_out", 2)]
    assert row["last_error"].startswith("timed out after 0.3 s")
    workers.wait_for_effect(task, "stopped", number=2)


def test_sigterm_lets_handlers_end(workers: Stage) -> None:
    """After SIGTERM, handlers finish, and the worker claims nothing more"""
    worker = workers.start()
    task = workers.insert("hold")
    workers.wait_for_effect(task, "began")
    worker.signal(signal.SIGTERM)
    later = workers.insert("note", delay="200 ms")
    wait_until(lambda: workers.task(later)["next_run_at"] < _now(workers))
    workers.open_gate(task)
    assert worker.wait() == 0
    assert workers.statuses(task) == [("completed", 1)]
    assert workers.task(later)["status"] == "pending"


def test_sigterm_gives_back(workers: Stage) -> None:
    """Tasks that do not finish within the shutdown timeout are stopped and released, without counting the attempt"""
    worker = workers.start(shutdown_timeout=0.2)
    task = workers.insert("hold")
    workers.wait_for_effect(task, "began")
    assert worker.stop() == 0
    row = workers.task(task)
    assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)
    assert workers.effects(task, "stopped")
    workers.open_gate(task)
    workers.start()
    assert workers.ended(task)["result"] == 1


def test_paused_queue(workers: Stage) -> None:
    """A paused queue starts no tasks until it is resumed"""
    workers.start(queues=("mail", "default"))
    workers.db.execute("select pgsched.pause_queue('mail')")
    paused, other = workers.insert("note", queue="mail"), workers.insert("note")
    workers.ended(other)
    again = workers.insert("note")
    workers.ended(again)
    assert workers.task(paused)["attempts"] == 0
    workers.db.execute("select pgsched.resume_queue('mail')")
    workers.ended(paused)


def test_concurrency_limit(workers: Stage) -> None:
    """A concurrency limit applies across all workers"""
    workers.start(queues=("narrow",))
    workers.start(queues=("narrow",))
    workers.db.execute("select pgsched.limit_queue('narrow', concurrency => 2)")
    ids = [workers.insert("overlong", {"seconds": 0.1}, queue="narrow") for _ in range(8)]
    for task in ids:
        workers.ended(task)
    (row,) = workers.db.execute(
        """
        select max(number) as number from (
          select sum(case what when 'began' then 1 else -1 end) over (order by id) as number from effects) n
        """
    ).fetchall()
    assert row["number"] == 2


def test_rate_limit(workers: Stage) -> None:
    """A rate limit applies across all workers"""
    workers.start(queues=("slow",))
    workers.start(queues=("slow",))
    workers.db.execute("select pgsched.limit_queue('slow', rate => 3, per => '1 second')")
    ids = [workers.insert("note", queue="slow") for _ in range(7)]
    for task in ids:
        workers.ended(task)
    times = [row["at"] for row in workers.db.execute("select at from effects order by at").fetchall()]
    assert all(later - first > timedelta(seconds=0.9) for first, later in zip(times, times[3:], strict=False))


def test_unknown_type_is_left_alone(workers: Stage) -> None:
    """A task of a type without a handler is not claimed"""
    workers.start()
    unknown, known = workers.insert("nobody's"), workers.insert("note")
    workers.ended(known)
    row = workers.task(unknown)
    assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)


def test_poison_ends_as_dead(workers: Stage) -> None:
    """A task that kills its worker is dead after its attempts (at most one more kill), and other tasks run"""
    poison = workers.insert("crash", max_attempts=2, priority=9)
    notes = [workers.insert("note") for _ in range(20)]
    for _ in range(4):
        if workers.task(poison)["status"] == "dead":
            break
        worker = workers.start()
        wait_until(
            lambda worker=worker: worker.ended or workers.task(poison)["status"] == "dead",  # type: ignore[misc]
            message="the task kills its worker, or is dead",
        )
    workers.ended(poison, "dead")
    assert len(workers.effects(poison, "began")) in (2, 3)
    assert "attempts are used up" in workers.task(poison)["last_error"]
    for task in notes:
        workers.ended(task)


def test_lost_connections(workers: Stage) -> None:
    """The server closes connections during work: every task is completed once"""
    workers.start(lease=2)
    ids = [workers.insert("brief", {"seconds": 0.02}) for _ in range(300)]

    def completed() -> int:
        (row,) = workers.db.execute("select count(*) as n from pgsched.tasks where status = 'completed'").fetchall()
        return int(row["n"])

    for done in (20, 100, 200):
        wait_until(lambda done=done: completed() >= done)  # type: ignore[misc]
        workers.db.execute(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()
            """
        )
    wait_until(lambda: completed() == len(ids), message="all are completed")
    (row,) = workers.db.execute(
        """
        select count(*) as n, count(distinct task_id) as tasks from pgsched.executions where status = 'completed'
        """
    ).fetchall()
    assert (row["n"], row["tasks"]) == (300, 300)


def test_unicode_and_large_payloads(workers: Stage) -> None:
    """Any Unicode text, deep nesting and 500 kB are unchanged in payload and result"""
    workers.start()
    payload = {"text": "žluťoučký 🐎 \u202e \\ \" ' \x7f", "list": [[[{"a": None}]], 1.5, -3, True], "": "", "é": "é"}
    small, large = workers.insert("echo", payload), workers.insert("echo", {"text": "🐎é" * 125_000})
    assert workers.ended(small)["result"] == payload
    assert workers.ended(large)["result"] == {"text": "🐎é" * 125_000}


def test_unstorable_result(workers: Stage) -> None:
    """A result with a character that PostgreSQL cannot store (NUL) is stored without it; the work is not repeated"""
    workers.start()
    tasks = [workers.insert("nul"), workers.insert("note"), workers.insert("nul")]
    rows = [workers.ended(task) for task in tasks]
    assert [row["attempts"] for row in rows] == [1, 1, 1]
    assert isinstance(rows[0]["result"], str)
    assert rows[0]["result"].startswith("a")


def test_refused_outcome_costs_no_other(workers: Stage) -> None:
    """If a trigger of the application rejects an outcome, its task is dead, and no other task is affected"""
    workers.db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
          raise exception 'we do not store that';
        end $$;
        create trigger refuse before update on pgsched.tasks
          for each row when (new.result = '{"poison": true}') execute function refuse()
        """
    )
    workers.start()
    poison = workers.insert("echo", {"poison": True})
    others = [workers.insert("note") for _ in range(10)]
    assert "we do not store that" in workers.ended(poison, "dead")["last_error"]
    for task in others:
        workers.ended(task)


def test_triggers_of_the_application(workers: Stage) -> None:
    """Triggers of the application on tasks find its tables, as in its own sessions"""
    workers.db.execute(
        """
        create table changes (id bigint, status text);
        create function follow() returns trigger language plpgsql as $$
        begin
          insert into changes values (new.id, new.status);
          return null;
        end $$;
        create trigger follow after update on pgsched.tasks for each row execute function follow()
        """
    )
    workers.start()
    done, dead = workers.insert("note"), workers.insert("discard")
    workers.ended(done)
    workers.ended(dead, "dead")
    rows = workers.db.execute("select distinct id, status from changes where status <> 'running'").fetchall()
    assert {(row["id"], row["status"]) for row in rows} == {(done, "completed"), (dead, "dead")}


def test_refused_claim_costs_no_other(workers: Stage) -> None:
    """If the database rejects the claim of a task, the task is dead, with the reason, and other tasks run"""
    poison = workers.insert("echo", {"poison": True}, priority=9)
    workers.db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
          raise exception 'nobody runs that';
        end $$;
        create trigger refuse before update on pgsched.tasks
          for each row when (new.payload = '{"poison": true}' and new.status = 'running') execute function refuse()
        """
    )
    others = [workers.insert("note") for _ in range(10)]
    workers.start()
    assert "nobody runs that" in workers.ended(poison, "dead")["last_error"]
    for task in others:
        workers.ended(task)
    assert workers.effects(poison) == []


def test_dependencies(workers: Stage) -> None:
    """A task with dependencies runs after they have ended"""
    workers.start()
    first = workers.insert("hold")
    second = workers.insert("note", depends_on=[first])
    workers.wait_for_effect(first, "began")
    assert workers.task(second)["status"] == "blocked"
    workers.open_gate(first)
    workers.ended(second)
    (ran,) = workers.effects(second)
    assert ran["id"] > workers.effects(first, "ended")[0]["id"]


def test_groups(workers: Stage) -> None:
    """A group runs its steps in order, and contains their results"""
    workers.start()
    steps = [{"name": "one", "task_type": "note"}, {"name": "two", "task_type": "note", "after": ["one"]}]
    group = workers.insert("pgsched.group", {"steps": steps})
    assert workers.ended(group)["result"] == {"one": {"attempt": 1}, "two": {"attempt": 1}}
    failing = workers.insert("pgsched.group", {"steps": [{"name": "one", "task_type": "discard"}]})
    assert "Discard: never" in workers.ended(failing, "dead")["last_error"]


def test_expiry(workers: Stage) -> None:
    """A task that has not started by its `expires_at` is cancelled"""
    expired = workers.insert("note", expires_at=_now(workers) + timedelta(milliseconds=200))
    wait_until(lambda: workers.task(expired)["expires_at"] < _now(workers))
    workers.start()
    row = workers.ended(expired, "cancelled")
    assert row["last_error"].startswith("expired: ")
    assert workers.effects(expired) == []


def test_retention_of_nothing(workers: Stage) -> None:
    """In a queue with `retention` 0, a completed task is deleted, but stays in the history"""
    workers.db.execute("insert into pgsched.queues (name, retention) values ('default', '0')")
    workers.start()
    task = workers.insert("note")
    wait_until(lambda: workers.history(task))
    assert workers.db.execute("select from pgsched.tasks where id = %s", (task,)).fetchall() == []
    assert workers.statuses(task) == [("completed", 1)]


def test_pause_and_drain(workers: Stage) -> None:
    """A paused worker claims nothing until it is resumed; a draining worker exits"""
    worker = workers.start()
    (row,) = workers.db.execute("select id from pgsched.workers").fetchall()
    workers.db.execute("select pgsched.pause_worker(%(id)s)", row)
    wait_until(lambda: workers.db.execute("select from pgsched.workers where state = 'paused'").fetchall())
    task = workers.insert("hold")
    workers.db.execute("select pgsched.resume_worker(%(id)s)", row)
    workers.wait_for_effect(task, "began")
    workers.db.execute("select pgsched.drain_worker(%(id)s)", row)
    wait_until(lambda: workers.db.execute("select from pgsched.workers where state = 'draining'").fetchall())
    left = workers.insert("note")
    workers.open_gate(task)
    assert worker.wait() == 0
    assert workers.task(task)["status"] == "completed"
    assert workers.task(left)["attempts"] == 0


def test_transaction_of_the_handler(workers: Stage) -> None:
    """The writes of a handler in the transaction of its `finish` are committed with the outcome, or not at all"""
    workers.start()
    task = workers.insert("entry", backoff_delay="50 ms")
    assert workers.ended(task)["result"] == "kept"
    assert workers.statuses(task) == [("failed", 1), ("completed", 2)]
    assert [row["attempt"] for row in workers.effects(task, "written")] == [2]


def test_progress(workers: Stage) -> None:
    """The progress that a handler reports is visible while it runs"""
    workers.start()
    task = workers.insert("progress")
    wait_until(lambda: workers.task(task)["progress"] == {"done": 7}, message="the progress is written")
    workers.open_gate(task)
    workers.ended(task)


def test_events(workers: Stage) -> None:
    """Queues with `events` send an event when a task ends"""
    workers.db.execute("select pgsched.set_queue_events('default', true)")
    workers.start()
    workers.db.execute("listen pgsched_events")
    done, dead = workers.insert("note"), workers.insert("discard")
    found: dict[int, str] = {}
    for told in workers.db.notifies(timeout=30):
        row = json.loads(told.payload)
        found[row["id"]] = row["event"]
        assert (row["queue"], row["attempt"]) == ("default", 1)
        if len(found) == 2:
            break
    assert found == {done: "completed", dead: "dead"}


def test_locked_row_holds_up_nobody(workers: Stage) -> None:
    """A row that another session has locked delays no other task, and is finished later"""
    workers.start()
    task = workers.insert("hold")
    workers.wait_for_lease(task)
    workers.wait_for_effect(task, "began")
    with workers.db.transaction():
        workers.db.execute("select from pgsched.tasks where id = %s for update", (task,))
        workers.open_gate_elsewhere(task)
        workers.wait_for_effect(task, "ended")
        other = workers.insert_elsewhere("note")
        wait_until(lambda: workers.effects(other), message="the other task runs")
    workers.ended(task)
    workers.ended(other)
    assert workers.statuses(task) == [("completed", 1)]


def _now(workers: Stage) -> datetime:
    row: dict[str, Any]
    (row,) = workers.db.execute("select clock_timestamp() as now").fetchall()
    now = row["now"]
    assert isinstance(now, datetime)
    return now
