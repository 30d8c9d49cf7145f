"""The REST API on what is done to tasks: to one, or to all that fit a filter."""

from __future__ import annotations

from typing import Any

import httpx
import psycopg
import pytest

from pgsched.db.queries import dead_tasks
from pgsched.web.api import examples
from pgsched.web.services import changes
from tests.support.tables import (
    database,
    insert_task,
    move_tick,
    set_backing_off,
    set_completed,
    set_dead,
    set_running,
    task_row,
)
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

API = "/api/v1"
Rows = psycopg.Connection[dict[str, Any]]


async def act(http: httpx.AsyncClient, task_id: int, action: str) -> dict[str, Any]:
    """The task after an action."""
    answer = await http.post(f"{API}/tasks/{task_id}/{action}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def bulk(http: httpx.AsyncClient, action: str, *, dry_run: bool = False, limit: int = 100, **filters: Any) -> Any:
    """What a change to many tasks did."""
    body = {"action": action, "filter": filters, "limit": limit, "dry_run": dry_run}
    answer = await http.post(f"{API}/tasks/bulk", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def statuses(connection: Rows, *ids: int) -> list[str]:
    return [task_row(connection, id)["status"] for id in ids]


def entries(connection: Rows) -> list[dict[str, Any]]:
    return connection.execute("select * from pgsched.audit_log order by id").fetchall()


# One task.


async def test_a_schedule_is_planned_afresh(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, cron_expression="0 8 1 1 *")
        booked = task_row(connection, task_id)["next_run_at"]
        move_tick(connection, task_id, "timestamptz '2098-01-01 08:00Z'")
        async with web(dsn) as http:
            await act(http, task_id, "replan")
            assert task_row(connection, task_id)["next_run_at"] == booked
            refused = await http.post(f"{API}/tasks/{insert_task(connection)}/replan")
            assert refused.status_code == 409
        assert [row["action"] for row in entries(connection)] == ["task.replan"]


async def test_pause_and_its_end_are_noted_once(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        async with web(dsn) as http:
            assert (await act(http, task_id, "disable"))["enabled"] is False
            assert (await act(http, task_id, "disable"))["enabled"] is False
            assert (await act(http, task_id, "enable"))["enabled"] is True
            assert (await act(http, task_id, "enable"))["enabled"] is True
        noted = [(row["action"], row["before"], row["after"]) for row in entries(connection)]
    assert noted == [
        ("task.disable", {"enabled": True}, {"enabled": False}),
        ("task.enable", {"enabled": False}, {"enabled": True}),
    ]


async def test_run_makes_a_waiting_task_due_and_a_copy_of_a_schedule(dsn: str) -> None:
    with database(dsn) as connection:
        later = insert_task(connection, scheduled_for="2030-01-01T00:00:00Z")
        schedule = insert_task(connection, cron_expression="0 8 * * 1")
        async with web(dsn) as http:
            told = await act(http, later, "run")
            assert told["id"] == later
            assert told["next_run_at"] < "2030"
            copy = await act(http, schedule, "run")
            assert (copy["parent_id"], copy["schedule_type"]) == (schedule, "one_time")
        assert entries(connection)[-1]["after"] == {"copy": copy["id"]}


async def test_cancel_stops_and_retry_begins_again(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        async with web(dsn) as http:
            assert (await act(http, task_id, "cancel"))["status"] == "cancelled"
            assert (await http.post(f"{API}/tasks/{task_id}/cancel")).status_code == 409
            assert (await act(http, task_id, "retry"))["status"] == "pending"
            assert (await http.post(f"{API}/tasks/{task_id}/retry")).status_code == 409
        assert [row["action"] for row in entries(connection)] == ["task.cancel", "task.retry"]


async def test_retry_takes_another_payload(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, payload='{"to": "ann"}', idempotency_key="k")
        async with web(dsn) as http:
            await act(http, task_id, "cancel")
            for wrong in ({"payload": [1]}, {"payloads": {}}, {"payload": "x"}):
                assert (await http.post(f"{API}/tasks/{task_id}/retry", json=wrong)).status_code == 422
            answer = await http.post(f"{API}/tasks/by-key/k/retry", json={"payload": {"to": "bob"}})
            assert (answer.json()["status"], answer.json()["payload"]) == ("pending", {"to": "bob"})
            await act(http, task_id, "cancel")
            answer = await http.post(f"{API}/tasks/{task_id}/retry", json={"payload": None})
            assert (answer.json()["status"], answer.json()["payload"]) == ("pending", {"to": "bob"})
        last = entries(connection)[1]
        assert (last["action"], last["after"]["payload"]) == ("task.retry", "(changed)")


async def test_running_task_is_not_run_twice(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        set_running(connection, task_id)
    async with web(dsn) as http:
        answer = await http.post(f"{API}/tasks/{task_id}/run")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"task {task_id} is running already")


# Many.


@pytest.fixture
def of_every_kind(dsn: str) -> dict[str, int]:
    """A task in every status, in the queue mail, and one elsewhere."""
    with database(dsn) as connection:
        made = {
            name: insert_task(connection, queue="mail")
            for name in ("pending", "paused", "running", "backing_off", "completed", "dead", "cancelled")
        }
        made["blocked"] = insert_task(connection, queue="mail", depends_on=[made["running"]])
        made["schedule"] = insert_task(connection, queue="mail", cron_expression="0 8 * * 1")
        made["elsewhere"] = insert_task(connection, queue="other")
        connection.execute("update pgsched.tasks set enabled = false where id = %s", (made["paused"],))
        connection.execute("select pgsched.cancel(%s)", (made["cancelled"],))
        set_running(connection, made["running"])
        set_backing_off(connection, made["backing_off"])
        set_completed(connection, made["completed"])
        set_dead(connection, made["dead"])
    return made


SUITED = {
    "enable": {"paused"},
    "disable": {
        *("pending", "running", "backing_off", "completed", "dead", "cancelled", "blocked", "schedule"),
    },
    "run": {"pending", "paused", "backing_off", "completed", "dead", "cancelled", "blocked", "schedule"},
    "cancel": {"pending", "paused", "running", "backing_off", "blocked", "schedule"},
    "retry": {"backing_off", "dead", "cancelled"},
    "delete": {"pending", "paused", "backing_off", "completed", "dead", "cancelled", "blocked", "schedule"},
}


@pytest.mark.parametrize("action", SUITED)
async def test_dry_run_tells_what_the_action_suits_and_changes_nothing(
    dsn: str, of_every_kind: dict[str, int], action: str
) -> None:
    with database(dsn) as connection:
        before = connection.execute("select * from pgsched.tasks order by id").fetchall()
        async with web(dsn) as http:
            told = await bulk(http, action, dry_run=True, queue=["mail"])
        assert connection.execute("select * from pgsched.tasks order by id").fetchall() == before
        assert entries(connection) == []
    assert told["ids"] == sorted(of_every_kind[name] for name in SUITED[action])
    assert (told["matched"], told["changed"], told["more"]) == (9, len(SUITED[action]), False)


@pytest.mark.parametrize("action", SUITED)
async def test_action_on_many_changes_those_that_its_dry_run_told(
    dsn: str, of_every_kind: dict[str, int], action: str
) -> None:
    async with web(dsn) as http:
        expected = await bulk(http, action, dry_run=True, queue=["mail"])
        told = await bulk(http, action, queue=["mail"])
    if action == "cancel":
        # What waits for a cancelled task goes with it, and is then left alone.
        blocked = of_every_kind["blocked"]
        assert sorted({*told["ids"], blocked}) == expected["ids"]
    else:
        assert told["ids"] == expected["ids"]
    with database(dsn) as connection:
        (entry,) = entries(connection)
        rest = {row["id"] for row in connection.execute("select id from pgsched.tasks")}
        gone = set(of_every_kind.values()) - rest
        assert gone == (set(told["ids"]) if action == "delete" else set())
        if action == "cancel":
            assert set(statuses(connection, *expected["ids"])) == {"cancelled"}
        elif action == "retry":
            assert set(statuses(connection, *told["ids"])) == {"pending"}
        assert task_row(connection, of_every_kind["elsewhere"])["enabled"] is True
    assert (entry["action"], entry["target"]) == (f"tasks.{action}", "tasks")
    assert entry["before"] == {"filter": {"queue": ["mail"]}}
    assert (entry["after"], entry["task_ids"]) == ({"changed": told["changed"]}, told["ids"])


async def test_cancel_of_a_group_and_its_steps_together_is_no_error(dsn: str) -> None:
    with database(dsn) as connection:
        group = insert_task(
            connection, "pgsched.group", payload='{"steps": [{"task_type": "a"}, {"task_type": "b"}]}', queue="mail"
        )
        set_running(connection, group)
        token = task_row(connection, group)["fencing_token"]
        connection.execute("select pgsched.fire_group(%s, %s)", (group, token))
        ids = [row["id"] for row in connection.execute("select id from pgsched.tasks order by id")]
        assert len(ids) == 3
        async with web(dsn) as http:
            told = await bulk(http, "cancel", id=ids)
        assert told["matched"] == 3
        assert statuses(connection, *ids) == ["cancelled"] * 3


async def test_limit_takes_the_latest_and_says_that_there_may_be_more(dsn: str) -> None:
    with database(dsn) as connection:
        ids = [insert_task(connection, queue="mail") for _ in range(5)]
    async with web(dsn) as http:
        told = await bulk(http, "disable", limit=2, queue=["mail"])
    assert (told["ids"], told["more"]) == (ids[-2:], True)


async def test_searched_words_are_not_in_the_audit_log(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, payload='{"password": "hunter2"}')
        async with web(dsn) as http:
            assert (await bulk(http, "disable", search="hunter2"))["changed"] == 1
        (entry,) = entries(connection)
    assert entry["before"] == {"filter": {"search": "(hidden)"}}


@pytest.mark.parametrize(
    "body",
    [
        {"action": "retry", "filter": {}},
        {"action": "retry"},
        {"action": "explode", "filter": {"queue": ["mail"]}},
        {"action": "retry", "filter": {"queue": "mail"}},
        {"action": "retry", "filter": {"queue": []}},
        {"action": "retry", "filter": {"unknown": 1}},
        {"action": "retry", "filter": {"queue": ["mail"]}, "limit": 0},
        {"action": "retry", "filter": {"queue": ["mail"]}, "limit": 10_001},
        {"action": "retry", "filter": {"queue": ["mail"]}, "dry_run": "no"},
    ],
    ids=str,
)
async def test_change_to_many_that_breaks_a_rule_is_refused(dsn: str, body: dict[str, Any]) -> None:
    with database(dsn) as connection:
        dead = insert_task(connection, queue="mail")
        set_dead(connection, dead)
        async with web(dsn) as http:
            answer = await http.post(f"{API}/tasks/bulk", json=body)
        assert answer.status_code == 422, answer.text
        assert statuses(connection, dead) == ["dead"]


# Who may.


async def test_viewers_change_nothing(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        before = task_row(connection, task_id)
        async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
            description = (await http.get(f"{API}/openapi.json")).json()
            asked = 0
            for path, operations in description["paths"].items():
                for method in operations.keys() - {"get"}:
                    url = path.replace("{id}", str(task_id)).replace("{name}", "mail")
                    answer = await http.request(method, url, json=examples.EMAIL)
                    assert answer.status_code == 403, (method, path)
                    asked += 1
            assert asked >= 17
        assert task_row(connection, task_id) == before
        async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
            assert (await act(http, task_id, "disable"))["enabled"] is False
        assert [(row["actor"], row["role"]) for row in entries(connection)] == [("operator", "operator")]


async def test_a_change_to_many_is_a_transaction_and_an_entry_for_each_batch(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "BATCH", 2)
    with database(dsn) as connection:
        ids = [insert_task(connection, queue="mail") for _ in range(5)]
        async with web(dsn) as http:
            told = await bulk(http, "cancel", queue=["mail"])
        assert told["changed"] == 5
        assert sorted(told["ids"]) == ids
        assert [entry["after"]["changed"] for entry in entries(connection)] == [2, 2, 1]
        assert len({task_row(connection, one)["completed_at"] for one in ids}) == 3


async def test_a_change_to_more_than_the_limit_goes_on_by_its_cursor(dsn: str) -> None:
    with database(dsn) as connection:
        parent = insert_task(connection, queue="mail")
        ids = [insert_task(connection, parent_id=parent) for _ in range(5)]
        body: dict[str, Any] = {"action": "cancel", "filter": {"parent_id": parent}, "limit": 2}
        changed, calls = [], 0
        async with web(dsn) as http:
            while True:
                answer = (await http.post(f"{API}/tasks/bulk", json=body)).json()
                changed += answer["ids"]
                calls += 1
                if answer["next_cursor"] is None:
                    break
                body["cursor"] = answer["next_cursor"]
        assert (sorted(changed), calls) == (ids, 3)
        assert statuses(connection, *ids) == ["cancelled"] * 5


@pytest.mark.parametrize("verb", ["retry", "purge"])
async def test_dead_letters_are_changed_batch_by_batch_each_with_its_entry(
    dsn: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(dead_tasks, "BATCH", 2)
    with database(dsn) as connection:
        for _ in range(5):
            set_dead(connection, insert_task(connection))
        async with web(dsn) as http:
            answer = await http.post(f"{API}/dead/{verb}", json={"all": True})
        assert answer.json() == {"number": 5}
        assert [entry["after"]["number"] for entry in entries(connection)] == [2, 2, 1]
