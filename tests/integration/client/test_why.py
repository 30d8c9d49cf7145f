"""Why a task waits, held against the real claim: what is said to be ready is claimed, and nothing else is."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgsched import AsyncClient, Client, TaskNotFound
from pgsched.db.sql_files import load_statement
from tests.support.tables import insert_task

Db = psycopg.Connection[dict[str, Any]]
TYPES = ("mail", "report", "rare")


def add_worker(
    db: Db,
    *,
    types: list[str],
    free: int,
    state: str = "active",
    queues: list[str] | None = None,
    id: UUID | None = None,
) -> UUID:
    id = id or uuid4()
    db.execute(
        """
        insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, running, lease, state)
        values (%s, 'host', 1, %s, %s, 5, %s, interval '30 seconds', %s)
        """,
        [id, queues or ["default"], types, 5 - free, state],
    )
    return id


def claim(db: Db, worker: UUID, types: list[str], room: int) -> set[int]:
    """What a worker with so many free slots claims from the queue, by the statements of workers."""
    if room <= 0:
        return set()
    apart = db.execute("select apart from pgsched.queues where name = 'default'").fetchone()
    if apart and apart["apart"]:
        rows = db.execute(
            "select (task).id as id from pgsched.claim_limited(%s, %s, %s, 1000000, %s, 30, %s, '{}', false)"
            " where size is not null",
            [["default"], [room], room, worker, types],
        )
        return {row["id"] for row in rows}
    tens: dict[str, Any] = {
        "queues": ["default"] * 10,
        "priorities": list(range(10, 0, -1)),
        **dict.fromkeys(("sinces", "cursor_ats", "cursor_ids", "untils"), [None] * 10),
    }
    rows = db.execute(
        load_statement("claim_tasks"),
        {
            **tens,
            **{"task_types": types, "context_types": [], "set_aside": [], "limit": room, "free": room},
            **{"bytes": 1_000_000, "worker": worker, "lease": 30.0},
        },
    )
    return {row["id"] for row in rows}


def make_scene(db: Db, dice: random.Random) -> dict[UUID, tuple[list[str], int]]:
    """Some tasks, a queue and workers; returns the types and free slots of those that claim."""
    for table in ("tasks", "queues", "workers", "slots", "starts", "turns"):
        db.execute(f"delete from pgsched.{table}")  # type: ignore[arg-type]
    if dice.random() < 0.8:
        limits: dict[str, Any] = {}
        for name, share in (("concurrency", 0.3), ("rate", 0.3), ("concurrency_per_key", 0.4)):
            if dice.random() < share:
                limits[name] = dice.randint(1, 2 if name == "concurrency_per_key" else 3)
        if limits.get("rate"):
            limits["per"] = "1 hour"
        db.execute(
            "insert into pgsched.queues (name, paused, ordering, limits) values ('default', %s, %s, %s)",
            [dice.random() < 0.15, dice.choice(["fifo", "fifo", "lifo"]), json.dumps(limits)],
        )
    claiming = {}
    for _ in range(dice.choice([0, 1, 1, 2, 2])):
        types = dice.sample(TYPES[:2], dice.choice([1, 2, 2]))
        free, state = dice.randint(0, 4), dice.choice(["active", "active", "active", "paused", "draining"])
        queues = ["default"] if dice.random() < 0.9 else ["other"]
        name = UUID(int=dice.getrandbits(128))
        id = add_worker(db, types=types, free=free, state=state, queues=queues, id=name)
        if state == "active" and queues == ["default"]:
            claiming[id] = (types, free)
    for _ in range(dice.randint(1, 6)):
        insert(db, dice)
    for id, (types, _free) in claiming.items():  # what runs already uses limits up
        if dice.random() < 0.6:
            claim(db, id, types, dice.randint(1, 2))
    return claiming


def insert(db: Db, dice: random.Random) -> None:
    db.execute(
        """
        insert into pgsched.tasks (task_type, priority, scheduled_for, enabled, concurrency_key)
        values (%s, %s, now() + %s * interval '1 second', %s, %s)
        """,
        [
            dice.choice([*TYPES[:2], *TYPES]),
            dice.choice([3, 5, 5, 8]),
            dice.randint(1, 500) * dice.choice([-1, -1, -1, 1]),
            dice.random() > 0.1,
            dice.choice([None, "a", "a"]),
        ],
    )


@pytest.mark.slow
def test_what_is_said_to_be_ready_is_claimed_and_nothing_else(db: Db, client: Client) -> None:
    dice = random.Random(19)
    seen: Counter[str] = Counter()
    for scene in range(260):
        claiming = make_scene(db, dice)
        told = {}
        for row in db.execute("select id from pgsched.tasks where status = 'pending'").fetchall():
            told[row["id"]] = client.why(row["id"])
        keyed = db.execute("select from pgsched.queues where limits ? 'concurrency_per_key'").fetchone() is not None
        taken: set[int] = set()
        for id in dice.sample(sorted(claiming), len(claiming)):
            taken |= claim(db, id, *claiming[id])
        for id, why in told.items():
            kinds = [one.kind for one in why.reasons] or ["ready"]
            seen.update(kinds)
            if why.is_ready:
                assert id in taken, (scene, why)
            elif kinds != ["behind"] or (len(claiming) == 1 and not keyed):
                assert id not in taken, (scene, why)
    expected = {
        *("ready", "behind", "slots_full", "disabled", "not_before", "queue_paused", "queue_limit", "rate_limit"),
        *("key_limit", "no_worker", "no_handler", "workers_paused"),
    }
    assert expected <= seen.keys(), seen
    assert min(seen[kind] for kind in expected) >= 2, seen


def test_a_wrong_word_would_be_found(db: Db, client: Client) -> None:
    """The negative control: of a task that the claim takes nothing else may be said than that it is ready."""
    worker = add_worker(db, types=["mail"], free=1)
    id = insert_task(db, "mail")
    assert client.why(id).is_ready
    assert claim(db, worker, ["mail"], 1) == {id}
    why = client.why(id)
    assert (why.is_ready, why.reasons[0].kind) == (False, "running")


def only(client: Client, id: int) -> tuple[str, str]:
    why = client.why(id)
    (one,) = why.reasons
    assert why.summary == one.text
    return one.kind, one.text


def test_a_task_that_waits_for_others_names_them_and_how_they_stand(db: Db, client: Client) -> None:
    add_worker(db, types=["mail"], free=1)
    first = client.schedule("mail", delay="1h")
    second = client.schedule("mail", depends_on=[first])
    assert only(client, second) == ("blocked_by", f"It waits for #{first} (pending).")
    assert client.why(second).reasons[0].task_ids == [first]


def test_backoff_snooze_newer_code_and_a_schedule_say_until_when(db: Db, client: Client) -> None:
    add_worker(db, types=["mail"], free=1)
    later = "next_run_at = now() + interval '1 hour'"
    failed, snoozed, misfit = (insert_task(db, "mail") for _ in range(3))
    db.execute(f"update pgsched.tasks set attempts = 2, last_error = 'no luck', {later} where id = %s", [failed])
    db.execute(f"update pgsched.tasks set last_error = 'Snooze: later', {later} where id = %s", [snoozed])
    error = "payload does not fit handler 'mail', and waits for newer code (version '2'): x"
    db.execute(f"update pgsched.tasks set last_error = %s, {later} where id = %s", [error, misfit])
    schedule = client.schedule("mail", cron="@yearly")
    assert only(client, failed) == ("backoff", "Attempt 2 of 3 failed: it waits for its backoff.")
    assert only(client, snoozed)[0] == "snoozed"
    assert only(client, misfit)[0] == "newer_code"
    assert only(client, schedule) == ("not_before", "Its next tick has not come yet.")
    assert all(client.why(id).reasons[0].until for id in (failed, snoozed, misfit, schedule))


def test_who_paused_the_queue_and_when_is_said(db: Db, client: Client) -> None:
    add_worker(db, types=["mail"], free=1)
    id = insert_task(db, "mail")
    client.pause_queue("default", paused_by="ada")
    assert only(client, id) == ("queue_paused", "Queue default is paused by ada.")
    (one,) = client.why(id).reasons
    assert one.since is not None
    assert one.command == "pgsched queue resume default"
    (queue,) = client.why_queue("default").reasons
    assert (queue.kind, queue.since) == ("queue_paused", one.since)
    client.resume_queue("default")
    assert client.why(id).is_ready


def test_who_holds_a_key_is_named(db: Db, client: Client) -> None:
    worker = add_worker(db, types=["mail"], free=3)
    client.limit_queue("default", concurrency_per_key=1)
    holder = insert_task(db, "mail", concurrency_key="acme")
    assert claim(db, worker, ["mail"], 1) == {holder}
    id = insert_task(db, "mail", concurrency_key="acme")
    kind, text = only(client, id)
    assert (kind, text) == (
        "key_limit", "Its concurrency key is at its limit: 1 of 1 tasks with the key 'acme' run at once.",
    )  # fmt: skip
    assert client.why(id).reasons[0].task_ids == [holder]


def test_a_rate_says_when_the_next_start_is(db: Db, client: Client) -> None:
    worker = add_worker(db, types=["mail"], free=3)
    client.limit_queue("default", rate=1, per="1m")
    insert_task(db, "mail")
    claim(db, worker, ["mail"], 1)
    (one,) = client.why(insert_task(db, "mail")).reasons
    assert (one.kind, one.text) == ("rate_limit", "Queue default is at its rate: 1 of 1 starts in 00:01:00.")
    assert one.until is not None


def test_a_catch_all_takes_what_nobody_else_has(db: Db, client: Client) -> None:
    add_worker(db, types=["*"], free=1)
    id = insert_task(db, "mail")
    assert client.why(id).is_ready
    add_worker(db, types=["mail"], free=1, state="paused")
    assert only(client, id)[0] == "workers_paused"  # the catch-all leaves it to the worker that is paused


def test_a_row_that_another_session_has_locked_is_said_to_be_locked(db: Db, client: Client, dsn: str) -> None:
    add_worker(db, types=["mail"], free=1)
    id = insert_task(db, "mail")
    with psycopg.connect(dsn) as other:
        other.execute("select from pgsched.tasks where id = %s for no key update", [id])
        assert only(client, id)[0] == "locked"
    assert client.why(id).is_ready


def test_a_row_that_cannot_be_claimed_is_said_to_be_set_aside(db: Db, client: Client) -> None:
    worker = add_worker(db, types=["mail"], free=1)
    id = insert_task(db, "mail")
    db.execute(
        "insert into pgsched.set_aside values (%s, %s, 'mail', 'default', 'claim', 'a check', 4, now())", [worker, id]
    )
    assert only(client, id)[0] == "set_aside"


async def test_the_clients_say_the_same_and_nothing_of_what_does_not_exist(dsn: str, db: Db, client: Client) -> None:
    id = insert_task(db, "mail")
    async with AsyncClient(dsn) as other:
        assert (await other.why(id)).as_dict() == client.why(id).as_dict()
        with pytest.raises(TaskNotFound):
            await other.why(id + 1000)


def test_a_queue_says_which_types_nobody_has(db: Db, client: Client) -> None:
    add_worker(db, types=["mail"], free=1)
    insert_task(db, "rare")
    why = client.why_queue("default")
    assert [one.kind for one in why.reasons] == ["no_handler"]
    assert (why.due, why.is_ready) == (1, False)


def test_workers_note_the_backlog_once_a_minute_and_a_forecast_is_made_of_it(db: Db, client: Client) -> None:
    for _ in range(3):
        insert_task(db, "mail")
    for _ in range(2):
        db.execute(load_statement("note_backlogs"), {"cap": 100})
    (row,) = db.execute("select queue, due, exact, oldest_due_at is not null as late from pgsched.backlogs").fetchall()
    assert row == {"queue": "default", "due": 3, "exact": True, "late": True}
    assert client.forecasts()["default"].text == "no forecast yet: there are too few samples"
    db.execute("insert into pgsched.backlogs select 'default', now() - n * interval '1 minute', 30 * n, true, null"
               " from generate_series(2, 8) n")  # fmt: skip
    assert client.why_queue("default").forecast.kind == "drains"
    db.execute("update pgsched.backlogs set at = at - interval '3 hours'")
    db.execute(load_statement("note_backlogs"), {"cap": 3})
    (row,) = db.execute("select exact from pgsched.backlogs").fetchall()
    assert row == {"exact": False}
