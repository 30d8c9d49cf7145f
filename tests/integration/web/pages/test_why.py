"""The pages that say why something waits, what a worker does, and all of what a task did."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from pgsched import Client
from pgsched.web.formats import as_share
from tests.support.tables import add_worker, insert_task, set_running
from tests.support.web_face import PROTECTED, VIEWER_TOKEN, web

Db = psycopg.Connection[dict[str, Any]]
API = "/api/v1"


async def test_a_pending_task_and_its_queue_say_why_they_wait_with_the_action(dsn: str, db: Db, client: Client) -> None:
    add_worker(db, queues=["mail"], task_types=["email"])
    id = insert_task(db, "email", queue="mail")
    async with web(dsn) as http:
        assert (await http.post(f"{API}/queues/mail/pause")).status_code == 200
        for path in (f"/tasks/{id}", "/queues/show?queue=mail"):
            page = (await http.get(path)).text
            assert "Why is it waiting?" in page
            assert "Queue mail is paused by local." in page
            assert "Resume queue" in page
        assert "/queues/show?queue=mail" in (await http.get("/queues")).text
        told = (await http.get(f"{API}/tasks/{id}/why")).json()
        assert (told["is_ready"], told["reasons"][0]["kind"]) == (False, "queue_paused")
        assert (await http.get(f"{API}/queues/mail/why")).json()["reasons"] == told["reasons"]
        answer = await http.post("/queues/resume", data={"queue": "mail", "task": str(id)})
        assert answer.headers["location"].startswith(f"/tasks/{id}")
        assert (await http.get(f"{API}/tasks/{id}/why")).json()["is_ready"] is True
        assert (await http.get(f"{API}/tasks/99/why")).status_code == 404
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        client.pause_queue("mail")
        page = (await http.get(f"/tasks/{id}")).text
        assert "Queue mail is paused by" in page
        assert "Resume queue" not in page


async def test_a_running_task_shows_its_attempt_its_progress_and_its_worker(dsn: str, db: Db) -> None:
    id = insert_task(db, "email")
    set_running(db, id)
    db.execute("update pgsched.tasks set progress = %s where id = %s", ['{"done": 3, "of": 12}', id])
    async with web(dsn) as http:
        page = (await http.get(f"/tasks/{id}")).text
    assert "It has not run yet" not in page
    assert "Running now" in page
    assert "3 of 12 (25%)" in page
    assert 'href="/workers/' in page


@pytest.mark.parametrize(
    ("progress", "label"),
    [
        ({"done": 3, "of": 12, "what": "rows"}, "3 of 12 (25%)"),
        (0.5, "50%"),
        (1, "100%"),
        (17, None),
        (True, None),
        ({"done": 3, "of": 0}, None),
        ("half", None),
        (None, None),
    ],
)
def test_progress_is_a_share_where_it_says_so(progress: Any, label: str | None) -> None:
    found = as_share(progress)
    assert (found and found.label) == label


async def test_all_log_lines_and_attempts_can_be_reached_and_it_is_said_that_there_are_more(dsn: str, db: Db) -> None:
    id = insert_task(db, "email")
    db.execute(
        """
        insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message)
        select %(id)s, n / 100, 1, now() - interval '1 hour' + n / 7 * interval '1 second',
          case when n %% 400 = 0 then 'error' else 'info' end, 'line-' || n
        from generate_series(1, 1203) n
        """,
        {"id": id},
    )
    db.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, worker_id, status, started_at, finished_at, duration_ms)
        select %s, 'email', 'default', n, n, gen_random_uuid(), 'failed', now() - interval '1 hour', now(), 5
        from generate_series(1, 62) n
        """,
        [id],
    )
    async with web(dsn) as http:
        seen: list[str] = []
        page = (await http.get(f"/tasks/{id}")).text
        assert "The last 500 lines" in page
        assert "The last 50 attempts" in page
        for _ in range(4):
            seen += re.findall(r"line-\d+", page)
            older = re.search(r'href="([^"]*logs=[^"]*)#logs"', page[page.index('id="logs"') :])
            if older is None or 'rel="next"' not in page[page.index('id="logs"') :]:
                break
            page = (await http.get(older.group(1).replace("&amp;", "&"))).text
        assert sorted(seen) == sorted({f"line-{n}" for n in range(1, 1204)})
        page = (await http.get(f"/tasks/{id}")).text
        older = re.search(r'href="([^"]*attempts=[^"]*)#attempts"', page)
        assert older is not None
        page = (await http.get(older.group(1).replace("&amp;", "&"))).text
        assert "12 older attempts" in page
        page = (await http.get(f"/tasks/{id}?level=error")).text
        assert re.findall(r"line-\d+", page) == ["line-400", "line-800", "line-1200"]
        answer = await http.get(f"{API}/tasks/{id}/logs", params={"limit": 500})
        following = await http.get(
            f"{API}/tasks/{id}/logs", params={"limit": 500, "cursor": answer.headers["X-Next-Cursor"]}
        )
        assert len({one["message"] for one in answer.json() + following.json()}) == 1000
        assert (await http.get(f"{API}/tasks/{id}/logs", params={"level": "loud"})).status_code == 422


async def test_a_worker_shows_what_it_runs_and_is_asked_to_pause_and_drain(dsn: str, db: Db, client: Client) -> None:
    add_worker(db, queues=["default"], task_types=["email"])
    db.execute("update pgsched.workers set state = 'active', code_version = '2030.1'")
    (one,) = client.workers()
    id = insert_task(db, "email")
    set_running(db, id)
    db.execute("update pgsched.tasks set locked_by = %s where id = %s", [one.id, id])
    async with web(dsn) as http:
        for path in ("/workers", f"/workers/{one.id}"):
            page = (await http.get(path)).text
            assert f'href="/tasks/{id}"' in page
            assert all(word in page for word in ("Online", "2030.1", "Last heartbeat", "Pause", "Drain"))
        assert [task["id"] for task in (await http.get(f"{API}/workers/{one.id}/tasks")).json()] == [id]
        answer = await http.post(f"/workers/{one.id}/pause")
        assert answer.headers["location"].startswith(f"/workers/{one.id}")
        assert "Asked to pause by local" in (await http.get(f"/workers/{one.id}")).text
        told = (await http.post(f"{API}/workers/{one.id}/drain")).json()
        assert (told["request"], told["requested_by"]) == ("drain", "local")
        assert (await http.post(f"{API}/workers/{one.id}/resume")).json()["request"] is None
        gone = "00000000-0000-0000-0000-000000000001"
        assert (await http.post(f"{API}/workers/{gone}/pause")).status_code == 404
    rows = db.execute("select action, target, before, after from pgsched.audit_log order by id").fetchall()
    assert [(row["action"], row["after"]) for row in rows] == [
        ("worker.pause", {"request": "pause"}),
        ("worker.drain", {"request": "drain"}),
        ("worker.resume", {"request": None}),
    ]
    assert rows[0]["target"] == f"host 1 ({one.id})"
