"""The functions of the worker protocol by themselves: what they refuse, and what they leave alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

ME, OTHER = UUID(int=1), UUID(int=2)
Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def db(dsn: str) -> Iterator[Connection]:
    with database(dsn) as connection:
        yield connection


def call(db: Connection, text: str, *values: object) -> dict[str, Any]:
    (row,) = db.execute(f"select * from pgsched.{text}", values).fetchall()  # type: ignore[arg-type]
    return row


def claim(db: Connection, worker: UUID = ME, **named: Any) -> list[dict[str, Any]]:
    given = {"queues": ["default"], "task_types": ["mail"], "max_tasks": 10} | named
    arguments = ", ".join(f"{name} => %({name})s" for name in given)
    return db.execute(f"select * from pgsched.claim(%(worker)s, {arguments})", given | {"worker": worker}).fetchall()


def finish(db: Connection, *outcomes: dict[str, Any], worker: UUID = ME) -> dict[str, Any]:
    return call(db, "finish(%s, %s)", worker, json.dumps(outcomes))


def of(claimed: dict[str, Any], outcome: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": claimed["id"], "fencing_token": claimed["fencing_token"], "outcome": outcome, **more}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claim('{0}', '{{}}', '{{mail}}')", "queues must be 1 to 1000 names, got {}"),
        ("claim('{0}', '{{a,null}}', '{{mail}}')", "queues must be 1 to 1000 names, got {a,NULL}"),
        ("claim('{0}', '{{a}}', null)", "task_types must be at most 10000 names, got null"),
        ("claim('{0}', '{{a}}', '{{mail}}', 0)", "the number of tasks must be between 1 and 1000, got 0"),
        ("claim('{0}', '{{a}}', '{{mail}}', 1, '1 ms')", "lease must be between 1 second and 1 day, got 00:00:00.001"),
        ("claim('{0}', '{{a}}', '{{mail}}', 1, null)", "lease must be between 1 second and 1 day, got null"),
        ("register_worker('{0}', '{{a}}', '{{mail}}', 10001)", "must be between 1 and 10000, got 10001"),
        ("register_worker('{0}', '{{a}}', '{{mail}}', 1, protocol => 0)", "protocol must be 1, which this schema"),
        ("finish('{0}', '[]')", "outcomes must be an array of 1 to 2000 objects, got []"),
        ("finish('{0}', '{{}}')", "outcomes must be an array of 1 to 2000 objects, got {}"),
        ("finish('{0}', null)", "outcomes must be an array of 1 to 2000 objects, got null"),
        (
            "finish('{0}', '[{{\"id\": 1}}]')",
            "outcome must be completed, failed, timed_out, discarded, snoozed or ended",
        ),
        ('finish(\'{0}\', \'[{{"id": 1, "outcome": "spawned"}}]\')', "got spawned"),
        ("beat('{0}', '{{1}}', '{{}}')", "ids and fencing_tokens must be of one length, at most 10000, got 1 and 0"),
        ("release('{0}', '{{1}}', '{{}}')", "ids and fencing_tokens must be of one length, at most 10000, got 1 and 0"),
        ("sleep('{0}', '2 minutes')", "longest must be between 0 and 1 minute, got 00:02:00"),
    ],
)
def test_call_that_makes_no_sense_is_refused(db: Connection, text: str, message: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        db.execute(f"select pgsched.{text.format(ME)}")  # type: ignore[arg-type]
    assert message in str(refused.value)


def test_claim_takes_what_is_asked_for_in_the_order_of_priorities(db: Connection) -> None:
    low = insert_task(db, priority=1)
    high = insert_task(db, priority=9)
    insert_task(db, "other")
    insert_task(db, queue="elsewhere")
    later = insert_task(db, scheduled_for="2100-01-01Z")
    assert [row["id"] for row in claim(db, max_tasks=1)] == [high]
    assert [row["id"] for row in claim(db)] == [low]
    assert claim(db) == []
    assert task_row(db, later)["attempts"] == 0


def test_details_name_what_a_task_says_and_nothing_else(db: Connection) -> None:
    insert_task(db)
    insert_task(db, tags=["a"], tenant_id="acme", priority=4, metadata='{"x": 1}')
    plain, rich = claim(db)
    assert plain["details"] is None
    assert rich["details"] == {"tags": ["a"], "tenant_id": "acme", "priority": 4, "metadata": {"x": 1}}


def test_outcome_of_another_claim_is_fenced(db: Connection) -> None:
    insert_task(db)
    (mine,) = claim(db)
    assert finish(db, of(mine), worker=OTHER) == {"written": 0, "fenced": [mine["id"]], "locked": []}
    assert finish(db, of(mine | {"fencing_token": 99})) == {"written": 0, "fenced": [mine["id"]], "locked": []}
    assert task_row(db, mine["id"])["status"] == "running"
    assert db.execute("select from pgsched.executions").fetchall() == []
    assert finish(db, of(mine))["written"] == 1


@pytest.mark.parametrize("outcome", ["completed", "failed", "snoozed"])
def test_outcome_that_is_sent_again_changes_nothing(db: Connection, outcome: str) -> None:
    insert_task(db)
    (mine,) = claim(db)
    first = finish(db, of(mine, outcome))
    before = task_row(db, mine["id"])
    again = finish(db, of(mine, outcome))
    assert first == {"written": 1, "fenced": [], "locked": []}
    assert again == first
    assert task_row(db, mine["id"]) == before
    assert len(db.execute("select from pgsched.executions").fetchall()) == 1


def test_locked_row_is_not_waited_for(db: Connection, dsn: str) -> None:
    first, second = insert_task(db), insert_task(db)
    mine = claim(db)
    with database(dsn) as somebody, somebody.transaction():
        somebody.execute("select from pgsched.tasks where id = %s for update", (first,))
        assert finish(db, *map(of, mine)) == {"written": 1, "fenced": [], "locked": [first]}
        beat = call(db, "beat(%s, %s, %s)", ME, [first], [mine[0]["fencing_token"]])
        assert (beat["renewed"], beat["lost"]) == (0, [])
    assert finish(db, of(mine[0])) == {"written": 1, "fenced": [], "locked": []}
    assert task_row(db, second)["status"] == "completed"


def test_beat_tells_what_was_cancelled_and_what_was_lost(db: Connection) -> None:
    ids = [insert_task(db) for _ in range(3)]
    mine = {row["id"]: row["fencing_token"] for row in claim(db)}
    db.execute("select pgsched.cancel(%s)", (ids[0],))
    db.execute("update pgsched.tasks set locked_until = now() - interval '1 second' where id = %s", (ids[1],))
    assert [row["id"] for row in claim(db, OTHER)] == [ids[1]]
    beat = call(db, "beat(%s, %s, %s)", ME, ids, [mine[one] for one in ids])
    assert beat == {
        "registered": False, "request": None, "renewed": 1, "cancelled": [ids[0]], "lost": [ids[1]],
    }  # fmt: skip


def test_beat_tells_what_a_worker_was_asked_to_do(db: Connection) -> None:
    call(db, "register_worker(%s, '{default}', '{mail}', 1)", ME)
    call(db, "pause_worker(%s)", ME)
    beat = call(db, "beat(%s, '{}', '{}', state => 'paused')", ME)
    assert (beat["registered"], beat["request"]) == (True, "pause")


def refuse_claims(db: Connection) -> None:
    db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
          raise exception 'nobody runs that';
        end $$;
        create trigger refuse before update on pgsched.tasks
          for each row when (new.priority = 9 and new.status = 'running') execute function refuse()
        """
    )


def look(db: Connection, *passed_over: int) -> list[dict[str, Any]]:
    statement = "select * from pgsched.look_at_refused(%s, '{default}', '{mail}', 100, %s::bigint[])"
    return db.execute(statement, (ME, list(passed_over))).fetchall()


def test_task_that_nobody_can_claim_is_dead(db: Connection) -> None:
    refuse_claims(db)
    poison, other = insert_task(db, priority=9), insert_task(db)
    with pytest.raises(psycopg.errors.RaiseException, match="nobody runs that"):
        claim(db)
    message = "the task cannot be claimed: nobody runs that"
    assert look(db) == [{"id": poison, "task_type": "mail", "message": message, "dead": True}]
    assert task_row(db, poison)["last_error"] == message
    assert [row["id"] for row in claim(db)] == [other]
    assert look(db) == []


def test_when_all_of_many_are_refused_the_reason_is_not_theirs(db: Connection) -> None:
    refuse_claims(db)
    poison = [insert_task(db, priority=9) for _ in range(11)]
    assert [(row["id"], row["dead"]) for row in look(db)] == [(one, False) for one in poison]
    assert {task_row(db, one)["status"] for one in poison} == {"pending"}
    other = insert_task(db)
    assert [row["id"] for row in claim(db, passed_over=poison)] == [other]
    assert look(db, *poison) == []


def test_end_that_is_refused_costs_no_other_claim(db: Connection) -> None:
    expired, other = insert_task(db, expires_at=datetime.now(UTC) + timedelta(seconds=0.5), priority=9), insert_task(db)
    db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
          raise exception 'nothing expires here';
        end $$;
        create trigger refuse before update on pgsched.tasks
          for each row when (new.status = 'cancelled') execute function refuse()
        """
    )
    wait_until(lambda: task_row(db, expired)["expires_at"] < datetime.now(UTC), message="it has expired")
    assert [row["id"] for row in claim(db)] == [other]
    assert task_row(db, expired)["status"] == "running"  # until its lease is over


def test_release_takes_back_the_attempt_and_nothing_of_others(db: Connection) -> None:
    task = insert_task(db)
    (mine,) = claim(db)
    assert call(db, "release(%s, %s, %s)", OTHER, [task], [mine["fencing_token"]])["release"] == 0
    assert call(db, "release(%s, %s, %s)", ME, [task], [mine["fencing_token"]])["release"] == 1
    row = task_row(db, task)
    assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)
    (again,) = claim(db, OTHER)
    assert again["fencing_token"] > mine["fencing_token"]


def test_sleeper_is_notified_until_it_claims_something(db: Connection, dsn: str) -> None:
    def is_asleep() -> bool:
        return bool(db.execute("select from pgsched.workers where sleeping_until is not null").fetchall())

    call(db, "register_worker(%s, '{default}', '{mail}', 1)", ME)
    insert_task(db, "other", scheduled_for="2100-01-01Z")
    assert 59 <= call(db, "sleep(%s)", ME)["sleep"] <= 60
    assert claim(db) == []
    assert is_asleep()
    with database(dsn) as listening:
        listening.execute("listen pgsched")
        insert_task(db)
        assert [told.payload for told in listening.notifies(timeout=5, stop_after=1)] == ["default"]
    assert len(claim(db)) == 1
    assert not is_asleep()
    assert call(db, "sleep(%s)", OTHER)["sleep"] is None


def test_a_hundred_snoozes_are_one_failed_attempt(db: Connection) -> None:
    task = insert_task(db, max_attempts=1)
    for _ in range(100):
        (mine,) = claim(db)
        finish(db, of(mine, "snoozed", error="not yet"))
        assert task_row(db, task)["attempts"] == 0
    (mine,) = claim(db)
    finish(db, of(mine, "snoozed", error="not yet"))
    row = task_row(db, task)
    assert (row["status"], row["last_error"]) == (
        "dead",
        "not yet (max_snoozes is 100, so it counts as a failed attempt)",
    )


def test_finish_commits_with_the_transaction_that_it_is_called_in(db: Connection) -> None:
    task = insert_task(db)
    (mine,) = claim(db)
    with db.transaction(force_rollback=True):
        assert finish(db, of(mine))["written"] == 1
    assert task_row(db, task)["status"] == "running"
    assert finish(db, of(mine))["written"] == 1


def test_tick_of_an_overlapping_schedule_that_ends_it(db: Connection) -> None:
    tick = datetime.now(UTC) - timedelta(seconds=1)
    given = {"start_date": tick, "planned_from": tick, "scheduled_for": tick}
    schedule = insert_task(db, repeat_interval="1 hour", overlap="allow", **given)
    (mine,) = claim(db)
    assert task_row(db, schedule)["status"] == "pending"
    assert task_row(db, mine["id"])["parent_id"] == schedule
    finish(db, of(mine, "ended", result="enough"))
    row = task_row(db, schedule)
    assert (row["status"], row["result"]) == ("completed", "enough")


def test_registering_keeps_what_another_program_has_registered(db: Connection) -> None:
    db.execute("""select pgsched.register('[{"task_type": "mail", "description": "sends mail"}]')""")
    call(db, "register_worker(%s, '{default}', '{mail,fax}', 1, client => 'go 1')", ME)
    rows = db.execute("select task_type, description from pgsched.handlers order by task_type").fetchall()
    assert rows == [{"task_type": "fax", "description": None}, {"task_type": "mail", "description": "sends mail"}]


def test_upkeep_forgets_the_dead_and_cancels_what_expired(db: Connection) -> None:
    call(db, "register_worker(%s, '{default}', '{mail}', 1)", ME)
    db.execute("update pgsched.workers set heartbeat_at = now() - interval '2 minutes'")
    task = insert_task(db, "nobody's", expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
    wait_until(lambda: task_row(db, task)["expires_at"] < datetime.now(UTC), message="it has expired")
    assert call(db, "upkeep()")["upkeep"] == 1
    assert db.execute("select from pgsched.workers").fetchall() == []
    assert task_row(db, task)["status"] == "cancelled"
