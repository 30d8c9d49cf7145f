"""The REST API on tasks: listed, made, read, edited and deleted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from pgsched.db.queries import task_search
from pgsched.web import WebSettings
from pgsched.web.api import examples
from tests.support.tables import database, insert_task, set_completed, set_dead, set_running, task_row
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN, web

API = "/api/v1"
HIDING = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)


async def create(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A task that was made, as the API answers it."""
    answer = await http.post(f"{API}/tasks", json={"task_type": "mail"} | body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(http: httpx.AsyncClient, **query: Any) -> list[int]:
    """The ids of a list, all pages of it."""
    ids: list[int] = []
    while True:
        answer = await http.get(f"{API}/tasks", params=query)
        assert answer.status_code == 200, answer.text
        ids += [item["id"] for item in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            return ids
        query["cursor"] = answer.json()["next_cursor"]


def refusal(answer: httpx.Response, status: int = 422) -> str:
    """What a problem says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    said: str = answer.json()["detail"]
    assert "\n" not in said
    return said


def audit(dsn: str) -> list[str]:
    """The actions in the audit log."""
    with database(dsn) as connection:
        return [row["action"] for row in connection.execute("select action from pgsched.audit_log order by id")]


# Made.


async def test_created_task_is_there_and_said_where(dsn: str) -> None:
    async with web(dsn) as http:
        answer = await http.post(f"{API}/tasks", json=examples.EMAIL)
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"{API}/tasks/{made['id']}"
        assert (await http.get(answer.headers["location"])).json()["payload"] == examples.EMAIL["payload"]
    with database(dsn) as connection:
        row = task_row(connection, made["id"])
    assert (row["queue"], row["priority"], row["idempotency_key"]) == ("mail", 7, "welcome-ada")
    assert (row["next_run_at"] - row["created_at"]).total_seconds() == 60
    assert audit(dsn) == ["task.create"]


async def test_known_idempotency_key_answers_200_with_the_task_that_has_it_and_notes_nothing(dsn: str) -> None:
    async with web(dsn) as http:
        first = await create(http, idempotency_key="k", payload={"n": 1})
        again = await http.post(f"{API}/tasks", json={"task_type": "mail", "idempotency_key": "k", "payload": {"n": 2}})
        assert again.status_code == 200
        assert again.json() == first | {"outcome": "existing", "differs": ["payload"]}
        assert again.headers["location"].endswith(f"/{first['id']}")
    assert audit(dsn) == ["task.create"]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"cron": "0 8 * * 1"}, {"cron_expression": "0 8 * * 1"}),
        ({"every": "15m", "times": 3}, {"repeat_interval": 900, "repeat_count": 3}),
        ({"at": "2030-01-31T08:00:00Z"}, {"scheduled_for": "2030-01-31T09:00:00+01:00"}),
        (
            {"every": 60, "start": "2030-01-31T08:00:00Z"},
            {"repeat_interval": "1m", "start_date": "2030-01-31t08:00:00z"},
        ),
        ({"every": 60, "end": "2030-01-31T08:00:00Z"}, {"repeat_interval": 60.0, "end_date": "2030-01-31T08:00:00Z"}),
        ({"name": "weekly"}, {"task_name": "weekly"}),
    ],
)
async def test_short_names_are_those_of_the_columns(dsn: str, short: dict[str, Any], long: dict[str, Any]) -> None:
    async with web(dsn) as http:
        one, other = await create(http, **short), await create(http, **long)
    differ = {key for key in one if one[key] != other[key]}
    # Times that are given by when the task was made, unless the test gives them.
    assert differ - set(long) <= {
        *("id", "next_run_at", "planned_from", "created_at", "updated_at", "start_date"),
        *(("scheduled_for",) if "name" in short or "every" in short else ()),
    }
    assert not differ & set(long)
    assert any(one[key] for key in long)


async def test_delay_ms_and_delay_are_one_and_the_same(dsn: str) -> None:
    async with web(dsn) as http:
        one = await create(http, delay_ms=90_000)
        other = await create(http, delay="90s")
        answer = await http.post(f"{API}/tasks", json={"task_type": "mail", "delay": 1, "delay_ms": 1000})
        assert refusal(answer) == "delay_ms must not be given together with delay: they are the same option"
    with database(dsn) as connection:
        for made in (one, other):
            row = task_row(connection, made["id"])
            assert (row["next_run_at"] - row["created_at"]).total_seconds() == 90


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"priority": 99}, "priority"),
        ({"cron": "0 8 * *"}, None),
        ({"cron": "0 8 * * 1", "timezone": "Mars/Base"}, "timezone"),
        ({"task_type": ""}, "task_type"),
        ({"every": "1m", "times": 0}, "times"),
        ({"at": "2030-01-31T08:00:00"}, "at"),
        ({"at": 5}, "at"),
        ({"delay_ms": -1}, "delay_ms"),
        ({"delay_ms": True}, "delay_ms"),
        ({"queue": "a\u0000b"}, "queue"),
        ({"payload": [1]}, "payload"),
        ({"payload": {"a": "\ud800"}}, None),
        ({"tags": "urgent"}, "tags"),
        ({"enabled": "yes"}, "enabled"),
        ({"unknown": 1}, "unknown"),
        ({"depends_on": [404]}, "depends_on"),
        ({"cron": "0 8 * * 1", "delay": 5}, None),
        ({"max_attempts": 10**30}, "max_attempts"),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_the_field(dsn: str, body: dict[str, Any], field: str | None) -> None:
    async with web(dsn) as http:
        content = json.dumps({"task_type": "mail"} | body)
        answer = await http.post(f"{API}/tasks", content=content, headers={"content-type": "application/json"})
        refusal(answer)
        if field is not None:
            assert answer.json()["field"] == field, answer.text
        assert await listed(http) == []
    assert audit(dsn) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"task_type": NaN}', b"[" * 100_000])
async def test_body_that_is_no_object_is_refused(dsn: str, content: bytes) -> None:
    async with web(dsn) as http:
        answer = await http.post(f"{API}/tasks", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/tasks", "/groups", "/tasks/bulk", "/dead/retry"])
async def test_body_with_a_key_twice_is_refused(dsn: str, path: str) -> None:
    content = b'{"task_type": "mail", "payload": {"a": [{"n": 1, "n": 2}]}}'
    async with web(dsn) as http:
        answer = await http.post(API + path, content=content, headers={"content-type": "application/json"})
        assert refusal(answer) == "payload.a[0].n must be there once: an object has this key twice"
        assert await listed(http) == []


async def test_payload_that_the_table_refuses_is_not_quoted(dsn: str) -> None:
    async with web(dsn) as http:
        said = refusal(await http.post(f"{API}/tasks", json={"task_type": "mail", "payload": "secret-word"}))
        assert "secret-word" not in said
        deep: Any = "secret-word"
        for _ in range(150):
            deep = [deep]
        said = refusal(await http.post(f"{API}/tasks", json={"task_type": "mail", "payload": {"a": deep}}))
        assert "secret-word" not in said
        assert "payload" in said


async def test_group_is_made_with_its_steps(dsn: str) -> None:
    async with web(dsn) as http:
        answer = await http.post(f"{API}/groups", json=examples.GROUP)
        assert answer.status_code == 201
        made = answer.json()
        assert made["task_type"] == "pgsched.group"
        assert made["task_name"] == "nightly"
        assert [step["task_type"] for step in made["payload"]["steps"]] == ["extract", "load"]
        tree = (await http.get(f"{API}/tasks/{made['id']}/tree")).json()
        assert (tree["id"], tree["name"], tree["cut"]) == (made["id"], "nightly", False)
        wrong = await http.post(f"{API}/groups", json={"steps": [{"task_type": "a"}, {"task_type": "a"}]})
        refusal(wrong)
        refusal(await http.post(f"{API}/groups", json={"steps": []}))
    assert audit(dsn) == ["group.create"]


# Read.


async def test_task_is_told_with_its_schedule_and_next_runs(dsn: str) -> None:
    async with web(dsn) as http:
        made = await create(http, cron="0 8 * * 1", timezone="Europe/Berlin")
        told = (await http.get(f"{API}/tasks/{made['id']}")).json()
    assert told["schedule"].startswith("at 08:00 on Monday, Europe/Berlin time")
    assert len(told["next_runs"]) == 5
    assert (told["is_running"], told["last_execution"], told["executions"]) == (False, None, [])


async def test_running_task_says_so(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        set_running(connection, task_id)
    async with web(dsn) as http:
        assert (await http.get(f"{API}/tasks/{task_id}")).json()["is_running"] is True


@pytest.mark.parametrize("id", ["1", "-1", str(2**70)])
async def test_task_that_does_not_exist_is_404_everywhere(dsn: str, id: str) -> None:
    async with web(dsn) as http:
        for path in ("", "/tree", "/executions", "/logs", "/missed-ticks"):
            if int(id) < 2**63 or path in ("", "/tree"):
                assert (await http.get(f"{API}/tasks/{id}{path}")).status_code == 404, path
        for action in ("enable", "disable", "run", "cancel", "retry"):
            refusal(await http.post(f"{API}/tasks/{id}/{action}"), 404)
        refusal(await http.patch(f"{API}/tasks/{id}", json={"priority": 1}), 404)
        refusal(await http.delete(f"{API}/tasks/{id}"), 404)


# Edited and deleted.


async def test_edit_changes_what_it_says_and_null_empties(dsn: str) -> None:
    async with web(dsn) as http:
        made = await create(http, name="old", tags=["a"], tenant_id="t")
        answer = await http.patch(f"{API}/tasks/{made['id']}", json={"priority": 9, "name": None, "payload": {"n": 1}})
        assert answer.status_code == 200
        edited = answer.json()
    assert (edited["priority"], edited["task_name"], edited["payload"]) == (9, None, {"n": 1})
    assert (edited["tags"], edited["tenant_id"]) == (["a"], "t")
    with database(dsn) as connection:
        entry = connection.execute("select * from pgsched.audit_log where action = 'task.update'").fetchone()
    assert entry is not None
    assert (entry["before"]["priority"], entry["after"]["priority"]) == (5, 9)
    assert entry["after"]["payload"] == "(changed)"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"payload": None}, 422),
        ({"queue": None}, 422),
        ({"priority": 0}, 422),
        ({"task_type": "other"}, 422),
        ({"status": "dead"}, 422),
    ],
)
async def test_edit_that_breaks_a_rule_changes_nothing(dsn: str, body: dict[str, Any], status: int) -> None:
    async with web(dsn) as http:
        made = await create(http)
        refusal(await http.patch(f"{API}/tasks/{made['id']}", json=body), status)
        assert (await http.get(f"{API}/tasks/{made['id']}")).json()["updated_at"] == made["updated_at"]
    assert audit(dsn) == ["task.create"]


async def test_schedule_is_given_no_time_of_its_own(dsn: str) -> None:
    async with web(dsn) as http:
        made = await create(http, cron="0 8 * * 1")
        refusal(await http.patch(f"{API}/tasks/{made['id']}", json={"delay": 5}), 409)


async def test_deleted_task_is_gone_and_a_running_one_stays(dsn: str) -> None:
    async with web(dsn) as http:
        made = await create(http)
        answer = await http.delete(f"{API}/tasks/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        refusal(await http.get(f"{API}/tasks/{made['id']}"), 404)
        with database(dsn) as connection:
            running = insert_task(connection)
            set_running(connection, running)
        assert "cancel it first" in refusal(await http.delete(f"{API}/tasks/{running}"), 409)
    assert audit(dsn) == ["task.create", "task.delete"]


# Listed.


@pytest.mark.parametrize(
    "query",
    [
        {"queue": "mail"},
        {"queue": ["mail", "other"]},
        {"task_type": "wanted"},
        {"priority": 8},
        {"tag": "red"},
        {"tenant_id": "acme"},
        {"user_id": "u1"},
        {"created_by": "cron"},
        {"enabled": "false"},
        {"idempotency_key": "k1"},
        {"concurrency_key": "c1"},
        {"name": "WEEK"},
        {"search": "Ada@"},
        {"payload": '{"to": "ada@example.com"}'},
        {"schedule_type": "one_time", "tag": "red"},
        {"status": "pending", "queue": "mail"},
        {"due_after": "2030-01-01T00:00:00Z"},
        {"due_before": "2031-01-01T00:00:00Z", "due_after": "2030-01-01T00:00:00Z"},
        {"created_after": "2020-01-01T00:00:00Z", "tag": "red"},
    ],
    ids=str,
)
async def test_filter_finds_the_one_that_fits(dsn: str, query: dict[str, Any]) -> None:
    with database(dsn) as connection:
        insert_task(connection, "plain", payload='{"to": "bob@example.com"}')
        wanted = insert_task(
            connection,
            "wanted",
            queue="mail",
            priority=8,
            tags=["red", "blue"],
            tenant_id="acme",
            user_id="u1",
            created_by="cron",
            enabled=False,
            idempotency_key="k1",
            concurrency_key="c1",
            task_name="the weekly one",
            payload='{"to": "ada@example.com", "n": [1]}',
            scheduled_for="2030-06-01T00:00:00Z",
        )
        insert_task(connection, "plain")
    async with web(dsn) as http:
        assert await listed(http, **query) == [wanted]


async def test_filters_by_how_a_task_stands_find_it(dsn: str) -> None:
    with database(dsn) as connection:
        pending, running, dead, done = (insert_task(connection) for _ in range(4))
        set_running(connection, running)
        set_dead(connection, dead, error="TimeoutError: Too slow")
        set_completed(connection, done)
        child = insert_task(connection, parent_id=pending)
        waits = insert_task(connection, depends_on=[running])
    async with web(dsn) as http:
        assert await listed(http, status="dead") == [dead]
        assert await listed(http, status=["dead", "completed"]) == [done, dead]
        assert await listed(http, status="blocked") == [waits]
        assert await listed(http, error="too SLOW") == [dead]
        assert await listed(http, parent_id=pending) == [child]
        assert await listed(http, depends_on=running) == [waits]
        assert await listed(http, id=[done, pending]) == [done, pending]
        assert await listed(http, locked_by="00000000-0000-0000-0000-000000000001") == [running]
        assert await listed(http, ended_after="2020-01-01T00:00:00Z") == [done, dead]
        assert await listed(http, ended_before="2020-01-01T00:00:00Z") == []
        assert await listed(http, started_after="2020-01-01T00:00:00Z") == [running]


async def test_pages_follow_one_another_without_gap_while_tasks_come(dsn: str) -> None:
    with database(dsn) as connection:
        ids = [insert_task(connection) for _ in range(7)]
        async with web(dsn) as http:
            first = (await http.get(f"{API}/tasks", params={"limit": 3})).json()
            insert_task(connection)
            rest = await listed(http, limit=3, cursor=first["next_cursor"])
    assert [item["id"] for item in first["items"]] + rest == ids[::-1]


async def test_tasks_of_a_user_and_of_a_tenant_are_found_behind_many_of_others(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "MAX_SCANNED", 5)
    with database(dsn) as connection:
        mine = [insert_task(connection, user_id="ada", tenant_id="acme") for _ in range(7)]
        set_dead(connection, mine[0])
        for _ in range(20):
            insert_task(connection, user_id="bob")
    async with web(dsn) as http:
        for owner in ({"user_id": "ada"}, {"tenant_id": "acme"}):
            first = (await http.get(f"{API}/tasks", params=owner)).json()
            assert [item["id"] for item in first["items"]] == mine[:1:-1], "five of its own were looked at"
            assert await listed(http, **owner, status="dead") == mine[:1]


async def test_rare_task_is_found_by_pages_that_each_look_at_so_many_rows(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "MAX_SCANNED", 5)
    with database(dsn) as connection:
        rare = insert_task(connection, "rare", payload='{"q": "needle"}')
        for _ in range(12):
            insert_task(connection)
    async with web(dsn) as http:
        page = (await http.get(f"{API}/tasks", params={"search": "needle"})).json()
        assert page["items"] == []
        assert page["next_cursor"] is not None
        assert await listed(http, search="needle") == [rare]
        # An index finds it at once.
        page = (await http.get(f"{API}/tasks", params={"id": rare, "search": "needle"})).json()
        assert ([item["id"] for item in page["items"]], page["next_cursor"]) == ([rare], None)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"cursor": "nonsense"},
        {"cursor": "ü"},
        {"cursor": "WyJkZWFkIiwgMTdd"},
        {"status": "asleep"},
        {"schedule_type": "x"},
        {"priority": 11},
        {"payload": "[1]"},
        {"payload": "{"},
        {"search": ""},
        {"search": "\0"},
        {"id": str(2**70)},
        {"due_after": "yesterday"},
        {"created_after": "2030-01-31T08:00:00"},
        {"unknown": "1"},
    ],
    ids=str,
)
async def test_query_that_breaks_a_rule_is_refused(dsn: str, query: dict[str, Any]) -> None:
    async with web(dsn) as http:
        refusal(await http.get(f"{API}/tasks", params=query))


# Hidden.


async def test_viewers_neither_see_hidden_payloads_nor_search_them(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, payload='{"password": "hunter2"}', metadata='{"m": "hunter2"}')
        set_dead(connection, task_id, error="hunter2")
    async with web(dsn, HIDING, token=VIEWER_TOKEN) as http:
        for path in ("/tasks", f"/tasks/{task_id}", f"/tasks/{task_id}/tree", "/dead"):
            answer = await http.get(API + path)
            assert answer.status_code == 200
            assert "hunter2" not in answer.text
        for query in ({"search": "hunter2"}, {"payload": "{}"}, {"error": "h"}):
            assert "hidden" in refusal(await http.get(f"{API}/tasks", params=query), 403)
    async with web(dsn, HIDING, token=OPERATOR_TOKEN) as http:
        assert await listed(http, search="hunter2") == [task_id]
        for path in ("/tasks", f"/tasks/{task_id}", f"/tasks/{task_id}/tree", "/dead"):
            assert "hunter2" in (await http.get(API + path)).text
