"""The REST API on queues, workers, statistics and the dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from pgsched.web.api import examples
from tests.support.tables import add_worker, database, insert_task, set_dead
from tests.support.web_face import web

API = "/api/v1"
KEPT = {
    "retention": None,
    "retention_count": None,
    "dead_retention": None,
    "dead_retention_count": None,
    "archive": None,
    "defaults": None,
}
DEFAULTS = {"paused": False, "ordering": "fifo", "limits": {}, "ageing": None, "events": False} | KEPT


def noted(dsn: str) -> list[tuple[Any, ...]]:
    """The audit log."""
    with database(dsn) as connection:
        rows = connection.execute("select action, queue, before, after from pgsched.audit_log order by id")
        return [(row["action"], row["queue"], row["before"], row["after"]) for row in rows]


async def test_queue_is_paused_and_resumed(dsn: str) -> None:
    async with web(dsn) as http:
        for _ in range(2):
            answer = await http.post(f"{API}/queues/mail/pause")
            assert answer.json() == {"name": "mail"} | DEFAULTS | {"paused": True}
        (listed,) = (await http.get(f"{API}/queues")).json()
        assert (listed["name"], listed["paused"]) == ("mail", True)
        assert (await http.post(f"{API}/queues/mail/resume")).json()["paused"] is False
        (listed,) = (await http.get(f"{API}/queues")).json()
        assert listed["paused"] is False
    assert noted(dsn) == [
        ("queue.pause", "mail", {"paused": False}, {"paused": True}),
        ("queue.resume", "mail", {"paused": True}, {"paused": False}),
    ]


async def test_limits_are_set_and_taken_away(dsn: str) -> None:
    async with web(dsn) as http:
        answer = await http.put(f"{API}/queues/mail/limits", json=examples.LIMITS)
        assert answer.status_code == 200, answer.text
        limits = answer.json()["limits"]
        assert (limits["concurrency"], limits["rate"]) == (10, 100)
        answer = await http.put(f"{API}/queues/mail/limits", json={"concurrency": 2})
        assert answer.json()["limits"] == {"concurrency": 2}
        assert (await http.get(f"{API}/queues/mail/settings")).json()["limits"] == {"concurrency": 2}
        assert (await http.delete(f"{API}/queues/mail/limits")).json()["limits"] == {}
        assert (await http.delete(f"{API}/queues/mail/limits")).json()["limits"] == {}
    assert [entry[0] for entry in noted(dsn)] == ["queue.limit", "queue.limit", "queue.unlimit"]


async def test_settings_are_changed_and_what_is_left_out_stays(dsn: str) -> None:
    async with web(dsn) as http:
        assert (await http.get(f"{API}/queues/mail/settings")).json() == {"name": "mail"} | DEFAULTS
        told = (await http.patch(f"{API}/queues/mail/settings", json=examples.QUEUE_EDIT)).json()
        assert told == {"name": "mail"} | DEFAULTS | {"ageing": "600 secs", "events": True}
        told = (await http.patch(f"{API}/queues/mail/settings", json={"ageing": None, "ordering": "lifo"})).json()
        assert (told["ordering"], told["ageing"], told["events"]) == ("lifo", None, True)
        told = (await http.patch(f"{API}/queues/mail/settings", json={"events": False})).json()
        assert (told["ordering"], told["events"]) == ("lifo", False)


@pytest.mark.parametrize("name", ["tenants/a/b", "a b?c#d", "ü", "100%"])
async def test_queue_of_any_name_is_reached(dsn: str, name: str) -> None:
    from urllib.parse import quote

    async with web(dsn) as http:
        assert (await http.post(f"{API}/queues/{quote(name, safe='')}/pause")).json()["name"] == name
        assert [queue["name"] for queue in (await http.get(f"{API}/queues")).json()] == [name]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/queues/mail/limits", {}),
        ("PUT", "/queues/mail/limits", {"concurrency": 0}),
        ("PUT", "/queues/mail/limits", {"concurrency": True}),
        ("PUT", "/queues/mail/limits", {"per": "1m"}),
        ("PUT", "/queues/mail/limits", {"speed": 1}),
        ("PATCH", "/queues/mail/settings", {}),
        ("PATCH", "/queues/mail/settings", {"ordering": "random"}),
        ("PATCH", "/queues/mail/settings", {"ordering": None}),
        ("PATCH", "/queues/mail/settings", {"events": None}),
        ("PATCH", "/queues/mail/settings", {"ageing": "soon"}),
        ("PATCH", "/queues/mail/settings", {"ageing": "1m", "ordering": "lifo"}),
        ("POST", f"/queues/{'x' * 101}/pause", None),
        ("POST", "/queues/a%00b/pause", None),
        ("GET", "/queues/a%00b/settings", None),
    ],
)
async def test_setting_that_breaks_a_rule_is_refused(dsn: str, method: str, path: str, body: Any) -> None:
    async with web(dsn) as http:
        answer = await http.request(method, API + path, json=body)
        assert answer.status_code == 422, answer.text
        assert (await http.get(f"{API}/queues")).json() == []
    assert noted(dsn) == []


async def test_workers_and_what_nobody_handles_are_told(dsn: str) -> None:
    with database(dsn) as connection:
        add_worker(connection, queues=["mail"], task_types=["email"])
        insert_task(connection, "sms", queue="mail")
    async with web(dsn) as http:
        (worker,) = (await http.get(f"{API}/workers")).json()
        stats = (await http.get(f"{API}/stats")).json()
    assert (worker["queues"], worker["alive"]) == (["mail"], True)
    assert stats["workers"] == [worker]
    assert stats["unhandled"] == [{"queue": "mail", "task_type": "sms", "due": 1}]
    assert [(queue["name"], queue["due"]) for queue in stats["queues"]] == [("mail", 1)]


async def test_statistics_come_from_a_cache(dsn: str) -> None:
    async with web(dsn) as http:
        assert (await http.get(f"{API}/stats")).json()["queues"] == []
        with database(dsn) as connection:
            insert_task(connection)
        assert (await http.get(f"{API}/stats")).json()["queues"] == []
        http._transport.app.state.web.stats.forget()  # type: ignore[attr-defined]
        assert len((await http.get(f"{API}/stats")).json()["queues"]) == 1


# The dead letters.


async def test_dead_letters_are_listed_page_by_page_the_latest_first(dsn: str) -> None:
    with database(dsn) as connection:
        ids = [insert_task(connection, queue="mail") for _ in range(5)]
        for minutes, task_id in enumerate(ids):
            set_dead(connection, task_id, ago=f"{minutes} minutes")
        set_dead(connection, insert_task(connection, queue="other"))
        insert_task(connection, queue="mail")
    found: list[int] = []
    async with web(dsn) as http:
        query = {"queue": "mail", "limit": "2"}
        while True:
            page = (await http.get(f"{API}/dead", params=query)).json()
            found += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        wrong = await http.get(f"{API}/dead", params={"cursor": "WyJ0YXNrcyIsIDE3XQ"})
        assert wrong.status_code == 422
    assert found == ids


@pytest.mark.parametrize("verb", ["retry", "purge"])
async def test_all_dead_letters_are_changed_only_where_that_is_said(dsn: str, verb: str) -> None:
    with database(dsn) as connection:
        for queue in ("mail", "other"):
            set_dead(connection, insert_task(connection, queue=queue))
        async with web(dsn) as http:
            for body in ({}, {"all": False}, {"queue": None}, {"all": "true"}, {"all": None}):
                assert (await http.post(f"{API}/dead/{verb}", json=body)).status_code == 422
            refused = await http.post(f"{API}/dead/{verb}", json={})
            assert refused.json()["detail"] == "all must be true where no filter is given"
            assert (await http.post(f"{API}/dead/{verb}")).status_code == 422
            assert len((await http.get(f"{API}/dead")).json()["items"]) == 2
            assert (await http.post(f"{API}/dead/{verb}", json={"all": True})).json() == {"number": 2}
            assert (await http.get(f"{API}/dead")).json()["items"] == []


async def test_dead_letters_are_tried_again_and_thrown_away(dsn: str) -> None:
    with database(dsn) as connection:
        mail, old, young = (insert_task(connection, queue=queue) for queue in ("mail", "other", "other"))
        set_dead(connection, mail)
        set_dead(connection, old, ago="40 days")
        set_dead(connection, young)
        async with web(dsn) as http:
            assert (await http.post(f"{API}/dead/retry", json=examples.DEAD_RETRY)).json() == {"number": 1}
            purge = {"queue": "other", "older_than": "30d"}
            assert (await http.post(f"{API}/dead/purge", json=purge)).json() == {"number": 1}
            assert (await http.post(f"{API}/dead/purge", json=purge)).json() == {"number": 0}
            assert [item["id"] for item in (await http.get(f"{API}/dead")).json()["items"]] == [young]
            assert (await http.post(f"{API}/dead/purge", json={"older_than": "-1d"})).status_code == 422
        rows = connection.execute("select id, status from pgsched.tasks order by id").fetchall()
    assert [(row["id"], row["status"]) for row in rows] == [(mail, "pending"), (young, "dead")]
    assert noted(dsn) == [
        ("dead.retry", "mail", {"queue": "mail"}, {"number": 1}),
        ("dead.purge", "other", {"queue": "other", "older_than": "30d"}, {"number": 1}),
    ]


@pytest.mark.parametrize(("what", "status"), [("settings", 422), ("why", 200)])
async def test_name_with_a_line_feed_leads_to_the_operation_like_any_other(dsn: str, what: str, status: int) -> None:
    async with web(dsn) as http:
        assert (await http.get(f"{API}/queues/mail%0A/{what}")).status_code == status
