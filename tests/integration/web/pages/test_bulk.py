"""Changes to many tasks: asked about as shown, undone, made in batches, stopped, resumed, and noted for each task."""

from __future__ import annotations

from typing import Any

import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.audit import list_entries
from pgsched.web.services import bulk_runner
from pgsched.web.services.bulk_runner import BulkRunner
from tests.support.bulk import let_begin, make_bulk_changes
from tests.support.pages import Page
from tests.support.tables import database, insert_task, set_dead, task_row
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web


class Died(Exception):
    """The dashboard is gone."""


def statuses(dsn: str, *ids: int) -> list[str]:
    with database(dsn) as connection:
        return [task_row(connection, one)["status"] for one in ids]


def bulk_row(dsn: str) -> dict[str, Any]:
    with database(dsn) as connection:
        row = connection.execute("select * from pgsched.bulk_changes order by id desc limit 1").fetchone()
    assert row is not None
    return dict(row)


def shown_form(page: Page) -> dict[str, str]:
    return {e.attributes["name"]: e.attributes.get("value", "") for e in page.all("input") if e.attributes.get("name")}


async def test_change_to_a_filter_asks_first_and_comes_back_to_the_same_list(dsn: str) -> None:
    with database(dsn) as connection:
        wanted = [insert_task(connection, queue="mail") for _ in range(70)]
        other = insert_task(connection, queue="other")
    async with web(dsn) as client:
        asked = await client.post("/tasks/bulk", data={"queue": "mail", "action": "cancel", "ids": ""})
        page = Page(asked.text)
        assert "Cancel 70 tasks?" in page.text
        assert "queue:mail" in page.text
        assert page.problems() == []
        assert set(statuses(dsn, *wanted)) == {"pending"}
        form = {e.attributes["name"]: e.attributes["value"] for e in page.all("input") if "value" in e.attributes}
        answer = await client.post("/tasks/bulk", data={k: v for k, v in form.items() if k not in ("q", "jump")})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/tasks?queue=mail&change={bulk_row(dsn)['id']}"
        back = Page((await client.get(answer.headers["location"])).text)
        assert back.problems() == []
        assert "Cancel 70 tasks : starts in" in back.text
    assert set(statuses(dsn, *wanted)) == {"pending"}
    await make_bulk_changes(dsn)
    assert set(statuses(dsn, *wanted)) == {"cancelled"}
    assert statuses(dsn, other) == ["pending"]
    async with web(dsn) as client:
        page = Page((await client.get(answer.headers["location"])).text)
        assert "Cancel 70 tasks : done, 70 cancelled" in page.text


async def test_each_task_has_a_change_to_many_in_its_history_and_others_have_not(dsn: str) -> None:
    with database(dsn) as connection:
        first, second, third = (insert_task(connection, payload='{"card": 4711}') for _ in range(3))
    async with web(dsn) as client:
        await client.post("/tasks/bulk", data={"action": "disable", "ids": f"{first} {third}", "confirmed": "yes"})
        form = {"action": "cancel", "q": "payload.card = 4711", "confirmed": "yes"}
        await make_bulk_changes(dsn)
        await client.post("/tasks/bulk", data=form)
        await make_bulk_changes(dsn)
        told = (await client.get("/api/v1/audit", params={"task_id": first})).json()["items"]
        page = (await client.get("/audit", params={"task_id": str(second)})).text
    with database(dsn) as connection:
        assert [task_row(connection, one)["enabled"] for one in (first, second, third)] == [False, True, False]
    assert [(one["action"], sorted(one["task_ids"])) for one in told] == [
        ("tasks.cancel", [first, second, third]),
        ("tasks.disable", [first, third]),
    ]
    assert "tasks.cancel" in page
    assert "tasks.disable" not in page
    assert "4711" not in str(told)


async def test_a_retry_by_the_api_is_in_the_history_of_its_tasks_too(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        set_dead(connection, made)
    async with web(dsn) as client:
        await client.post("/api/v1/dead/retry", json={"all": True})
        await client.post("/api/v1/tasks/bulk", json={"action": "cancel", "filter": {"id": [made]}})
        told = (await client.get("/api/v1/audit", params={"task_id": made})).json()["items"]
    assert [one["action"] for one in told] == ["tasks.cancel", "dead.retry"]


async def test_undo_leaves_everything_as_it_was_and_comes_too_late_once_it_has_begun(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, queue="mail")
    async with web(dsn) as client:
        form = {"queue": "mail", "action": "cancel", "confirmed": "yes"}
        await client.post("/tasks/bulk", data=form)
        path = f"/bulk/{bulk_row(dsn)['id']}"
        answer = await client.post(f"{path}/undo", data={"at": "tasks", "queue": "mail"})
        shown = Page((await client.get(answer.headers["location"])).text).text
        assert "undone, nothing was changed" in shown
        await make_bulk_changes(dsn)
        assert statuses(dsn, made) == ["pending"]
        await client.post("/tasks/bulk", data=form)
        path = f"/bulk/{bulk_row(dsn)['id']}"
        await make_bulk_changes(dsn)
        late = await client.post(f"{path}/undo", data={"at": "tasks", "queue": "mail"})
        assert "Too late to undo" in Page((await client.get(late.headers["location"])).text).text
    assert statuses(dsn, made) == ["cancelled"]


async def test_a_stopped_change_says_which_part_is_done_and_goes_on_there(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "BATCH", 2)
    with database(dsn) as connection:
        ids = [insert_task(connection, queue="mail") for _ in range(5)]
    async with web(dsn) as client:
        await client.post("/tasks/bulk", data={"queue": "mail", "action": "cancel", "confirmed": "yes"})
        id = bulk_row(dsn)["id"]
    let_begin(dsn)
    async with AsyncClient(dsn) as client:
        runner = BulkRunner(client)
        make_batch, made = runner._make_batch, []

        async def die_after_one(id: int) -> bool:
            if made:
                raise Died
            made.append(id)
            return await make_batch(id)

        monkeypatch.setattr(runner, "_make_batch", die_after_one)
        with pytest.raises(Died):
            await runner.run_once()
    assert statuses(dsn, *ids) == ["pending"] * 3 + ["cancelled"] * 2
    async with web(dsn) as http:
        await http.post(f"/bulk/{id}/stop", data={"at": "tasks"})
        page = Page((await http.get(f"/bulk/{id}")).text)
        assert page.problems() == []
        assert "stopped, 2 cancelled" in page.text
        await make_bulk_changes(dsn)
        assert statuses(dsn, *ids).count("cancelled") == 2
        await http.post(f"/bulk/{id}/resume", data={"at": "tasks"})
    await make_bulk_changes(dsn)
    assert statuses(dsn, *ids) == ["cancelled"] * 5
    assert (bulk_row(dsn)["status"], bulk_row(dsn)["changed"]) == ("done", 5)


async def test_another_dashboard_goes_on_when_one_has_died(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, queue="mail")
    async with web(dsn) as client:
        await client.post("/tasks/bulk", data={"queue": "mail", "action": "cancel", "confirmed": "yes"})
    with database(dsn) as connection:
        connection.execute(
            "update pgsched.bulk_changes set status = 'running', starts_at = now(), runner = gen_random_uuid(), "
            "leased_until = clock_timestamp() + interval '1 minute'"
        )
        await make_bulk_changes(dsn)
        assert statuses(dsn, made) == ["pending"]  # it may still be at work
        connection.execute("update pgsched.bulk_changes set leased_until = clock_timestamp() - interval '1 second'")
    await make_bulk_changes(dsn)
    assert statuses(dsn, made) == ["cancelled"]


async def test_what_fails_is_said_with_its_reason_and_what_does_not_suit_by_its_tasks(dsn: str) -> None:
    with database(dsn) as connection:
        dead, waiting = insert_task(connection), insert_task(connection)
        set_dead(connection, dead)
    async with web(dsn) as client:
        form = {"action": "retry", "ids": f"{dead} {waiting}", "confirmed": "yes"}
        asked = Page((await client.post("/tasks/bulk", data=form | {"confirmed": ""})).text).text
        assert "Retry 1 task?" in asked
        assert "2 selected tasks; 1 of them can be retried." in asked
        await client.post("/tasks/bulk", data=form)
    await make_bulk_changes(dsn)
    row = bulk_row(dsn)
    assert (row["status"], row["looked_at"], row["changed"], row["unsuited"]) == ("done", 2, 1, [waiting])


async def test_fields_that_were_changed_and_not_applied_are_what_is_meant_and_said(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, queue="mail")
    async with web(dsn) as client:
        form = {"queue": "mail", "action": "cancel", "applied": "queue=other"}
        changed = Page((await client.post("/tasks/bulk", data=form)).text).text
        same = Page((await client.post("/tasks/bulk", data=form | {"applied": "queue=mail"})).text).text
    assert "The filter was changed after it was applied" in changed
    assert "Cancel 1 task?" in changed
    assert "The filter was changed" not in same


async def test_an_error_keeps_what_was_typed(dsn: str) -> None:
    async with web(dsn) as client:
        for path in ("/tasks/bulk", "/dead/retry"):
            answer = await client.post(path, data={"queue": "mail", "priority": "many", "action": "cancel"})
            page = Page(answer.text)
            assert (answer.status_code, page.problems()) == (422, [])
            assert "priority must be a whole number" in page.text
            form = shown_form(page)
            assert (form["queue"], form["priority"]) == ("mail", "many")


async def test_change_to_many_needs_a_filter(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    async with web(dsn) as client:
        answer = await client.post("/tasks/bulk", data={"action": "delete", "confirmed": "yes"})
    await make_bulk_changes(dsn)
    assert answer.status_code == 422
    assert statuses(dsn, made) == ["pending"]


async def test_dead_letters_that_fit_are_retried_or_deleted_after_a_question(dsn: str) -> None:
    with database(dsn) as connection:
        mail, other, third, waiting = (insert_task(connection, queue=q) for q in ("mail", "other", "third", "mail"))
        for one in (mail, other, third):
            set_dead(connection, one)
    async with web(dsn) as client:
        asked = await client.post("/dead/retry", data={"queue": "mail"})
        assert Page(asked.text).problems() == []
        assert "Retry 1 dead task?" in Page(asked.text).text
        assert "Delete 3 dead tasks?" in Page((await client.post("/dead/purge", data={})).text).text
        answer = await client.post("/dead/retry", data={"queue": "mail", "confirmed": "yes"})
        assert answer.headers["location"].startswith("/dead?queue=mail&change=")
        await client.post("/dead/purge", data={"q": "queue:other", "confirmed": "yes"})
    await make_bulk_changes(dsn)
    with database(dsn) as connection:
        rows = connection.execute("select id, status from pgsched.tasks order by id").fetchall()
    assert [(row["id"], row["status"]) for row in rows] == [(mail, "pending"), (third, "dead"), (waiting, "pending")]


async def test_viewers_see_how_far_a_change_is_and_cannot_end_it(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, queue="mail")
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as client:
        await client.post("/tasks/bulk", data={"queue": "mail", "action": "cancel", "confirmed": "yes"})
    id = bulk_row(dsn)["id"]
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        page = await client.get(f"/tasks?change={id}")
        assert "starts in" in page.text
        assert "Undo" not in page.text
        assert (await client.post(f"/bulk/{id}/undo")).status_code == 403
        assert Page((await client.get("/bulk")).text).problems() == []
        assert (await client.get("/bulk/99")).status_code == 404


async def test_entries_of_a_task_are_found_among_many_by_its_index(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(
            "insert into pgsched.audit_log (actor, role, action, task_ids) "
            "select 'ann', 'operator', 'tasks.cancel', array[i, i + 1] from generate_series(1, 20000, 2) i"
        )
        connection.execute("analyze pgsched.audit_log")
        command = list_entries(task_id=777)
        plan = connection.execute(f"explain {command.statement}", command.params, prepare=False).fetchall()
    assert any("audit_log_by_tasks" in str(row) for row in plan), plan
