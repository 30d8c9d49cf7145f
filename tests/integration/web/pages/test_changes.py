"""What the buttons do, and that each of them leaves an entry in the audit log."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from pgsched.web.dashboard.shown import NOTICES
from tests.support.pages import Page, form_of
from tests.support.tables import database, insert_task, set_completed, set_dead, set_running, task_row
from tests.support.web_face import notice_of, web

Connection = psycopg.Connection[dict[str, Any]]


def audit(connection: Connection) -> list[tuple[str, int | None]]:
    """The action and the task of each entry."""
    rows = connection.execute("select action, task_id from pgsched.audit_log order by id").fetchall()
    return [(row["action"], row["task_id"]) for row in rows]


@pytest.mark.parametrize(
    ("verb", "column", "expected"),
    [("cancel", "status", "cancelled"), ("disable", "enabled", False), ("enable", "enabled", True)],
)
async def test_button_of_a_waiting_task_does_what_it_says(dsn: str, verb: str, column: str, expected: Any) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, enabled=verb != "enable")
        async with web(dsn) as client:
            answer = await client.post(f"/tasks/{made}/{verb}")
            shown = Page((await client.get(answer.headers["location"])).text)
        assert answer.status_code == 303
        assert task_row(connection, made)[column] == expected
        assert audit(connection) == [(f"task.{verb}", made)]
        assert any(str(made) in e.text for e in shown.all("p") if e.attributes.get("class") == "notice")


async def test_retry_gives_a_dead_task_its_attempts_again(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        set_dead(connection, made)
        async with web(dsn) as client:
            assert (await client.post(f"/tasks/{made}/retry")).status_code == 303
        assert task_row(connection, made)["status"] == "pending"
        assert audit(connection) == [("task.retry", made)]


async def test_retry_with_another_payload_by_a_form(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, payload='{"to": "ann"}')
        set_dead(connection, made)
        async with web(dsn) as client:
            assert f'href="/tasks/{made}/retry"' in (await client.get(f"/tasks/{made}")).text
            form = form_of(Page((await client.get(f"/tasks/{made}/retry")).text))
            assert json.loads(form["payload"]) == {"to": "ann"}
            wrong = await client.post(f"/tasks/{made}/retry", data={"payload": '{"to": '})
            assert (wrong.status_code, "payload" in wrong.text) == (422, True)
            assert task_row(connection, made)["status"] == "dead"
            assert (await client.post(f"/tasks/{made}/retry", data={"payload": '{"to": "bob"}'})).status_code == 303
            assert f'href="/tasks/{made}/retry"' not in (await client.get(f"/tasks/{made}")).text
        row = task_row(connection, made)
        assert (row["status"], row["payload"]) == ("pending", {"to": "bob"})
        changes = connection.execute("select before, after from pgsched.audit_log").fetchall()
        assert [(one["before"]["payload"], one["after"]["payload"]) for one in changes] == [("(changed)", "(changed)")]


async def test_run_now_of_a_completed_task_leads_to_its_copy(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        set_completed(connection, made)
        async with web(dsn) as client:
            answer = await client.post(f"/tasks/{made}/run")
        assert answer.headers["location"] == f"/tasks/{made + 1}"
        assert task_row(connection, made + 1)["status"] == "pending"


async def test_delete_takes_the_row_away(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with web(dsn) as client:
            answer = await client.post(f"/tasks/{made}/delete")
        assert answer.headers["location"] == "/tasks"
        assert connection.execute("select from pgsched.tasks").fetchall() == []
        assert audit(connection) == [("task.delete", made)]


async def test_refused_change_leaves_no_entry(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        set_running(connection, made)
        async with web(dsn) as client:
            answers = [await client.post(f"/tasks/{made}/{verb}") for verb in ("delete", "retry", "break")]
        assert [answer.status_code for answer in answers] == [409, 409, 404]
        assert task_row(connection, made)["status"] == "running"
        assert audit(connection) == []


async def test_page_of_another_site_changes_nothing(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with web(dsn, headers={"Sec-Fetch-Site": "cross-site"}) as client:
            answer = await client.post(f"/tasks/{made}/cancel")
        assert answer.status_code == 403
        assert task_row(connection, made)["status"] == "pending"


async def test_edit_saved_as_it_is_shown_changes_nothing(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(
            connection,
            cron_expression="0 8 * * *",
            timezone="Europe/Berlin",
            payload=json.dumps({"a": [1.5, "é"]}),
            tags=["x", "y"],
            jitter="90 seconds",
            end_date="2040-01-01 12:00+00",
        )
        before = task_row(connection, made)
        async with web(dsn) as client:
            page = Page((await client.get(f"/tasks/{made}/edit")).text)
            answer = await client.post(f"/tasks/{made}/edit", data=form_of(page))
        assert answer.status_code == 303
        assert task_row(connection, made) == before
        assert audit(connection) == []


async def test_edit_changes_what_was_changed_and_nothing_else(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, cron_expression="0 8 * * *", task_name="old", jitter="90 seconds")
        async with web(dsn) as client:
            page = Page((await client.get(f"/tasks/{made}/edit")).text)
            fields = form_of(page) | {"cron": "30 9 * * *", "name": "", "payload": '{"n": 7}', "priority": "9"}
            answer = await client.post(f"/tasks/{made}/edit", data=fields)
        assert answer.status_code == 303, answer.text
        row = task_row(connection, made)
        assert (row["cron_expression"], row["task_name"], row["payload"]) == ("30 9 * * *", None, {"n": 7})
        assert row["priority"] == 9
        assert row["jitter"].total_seconds() == 90
        assert audit(connection) == [("task.update", made)]


async def test_form_that_is_refused_keeps_what_was_typed_and_names_the_rule(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, cron_expression="0 8 * * *")
        async with web(dsn) as client:
            edited = await client.post(f"/tasks/{made}/edit", data={"cron": "0 8 * *", "priority": "99"})
            created = await client.post("/schedules/new", data={"task_type": "mail", "payload": "[1]", "queue": "my"})
        for answer, rule in ((edited, "must"), (created, "payload must be a JSON object")):
            page = Page(answer.text)
            assert answer.status_code == 422
            assert page.problems() == []
            assert rule in next(e.text for e in page.all("p") if e.attributes.get("role") == "alert")
        assert form_of(Page(created.text))["queue"] == "my"
        assert audit(connection) == []


@pytest.mark.parametrize(
    ("fields", "schedule_type"),
    [
        ({"cron": "*/5 * * * *", "timezone": "Europe/Berlin"}, "recurring"),
        ({"every": "15m", "times": "4"}, "repeating"),
        ({"at": "2031-01-31T12:00"}, "one_time"),
    ],
)
async def test_form_creates_a_task(dsn: str, fields: dict[str, str], schedule_type: str) -> None:
    with database(dsn) as connection:
        async with web(dsn) as client:
            empty = form_of(Page((await client.get("/schedules/new")).text))
            given = empty | {"task_type": "report", "tags": "a, b", "payload": '{"n": 1}'} | fields
            answer = await client.post("/schedules/new", data=given)
        assert answer.status_code == 303, answer.text
        (row,) = connection.execute("select * from pgsched.tasks").fetchall()
        assert (row["schedule_type"], row["tags"], row["payload"]) == (schedule_type, ["a", "b"], {"n": 1})
        assert audit(connection) == [("task.create", row["id"])]


@pytest.mark.parametrize(
    ("once", "other"),
    [
        ({"idempotency_key": "order 7"}, {"idempotency_key": "order 8"}),
        ({"unique_by": "payload.order, queue", "within": "1h"}, {"unique_by": "payload.order, queue", "queue": "b"}),
        ({"debounce": "30s", "max_wait": "2m"}, {"debounce": "30s", "payload": '{"order": 8}'}),
    ],
)
async def test_form_makes_a_task_once_where_that_is_asked(
    dsn: str, once: dict[str, str], other: dict[str, str]
) -> None:
    given = {"task_type": "mail", "payload": '{"order": 7}'}
    with database(dsn) as connection:
        async with web(dsn) as client:
            answers = [await client.post("/schedules/new", data=given | fields) for fields in (once, once, other)]
            refused = await client.post("/schedules/new", data=given | once | {"on_conflict": "raise"})
            wrong = await client.post("/schedules/new", data=given | once | {"on_conflict": "perhaps"})
        places = [answer.headers.get("location", answer.text) for answer in answers]
        ids = [int(place.rpartition("/")[2]) for place in places]
        words = ("create", "updated" if "debounce" in once else "existing", "create")
        said = [NOTICES[word].format(n=id) for word, id in zip(words, ids, strict=True)]
        assert [notice_of(answer) for answer in answers] == said
        assert places[0] == places[1]
        assert refused.status_code == wrong.status_code == 422
        assert "on_conflict must be" in wrong.text
        assert len(connection.execute("select from pgsched.tasks").fetchall()) == 2


async def test_form_without_scripts_shows_the_next_runs(dsn: str) -> None:
    with database(dsn) as connection:
        async with web(dsn) as client:
            answer = await client.post("/schedules/new", data={"task_type": "a", "cron": "0 8 * * *", "look": "yes"})
        assert answer.status_code == 200
        assert answer.text.count("08:00:00 UTC") >= 5
        assert connection.execute("select from pgsched.tasks").fetchall() == []


async def test_form_beyond_its_size_is_refused(dsn: str) -> None:
    async with web(dsn) as client:
        long = await client.post("/schedules/new", data={"task_type": "a", "payload": "x" * (5 * 1024 * 1024)})
        odd = await client.post("/schedules/new", json={"task_type": "a"})
    assert (long.status_code, odd.status_code) == (413, 415)
