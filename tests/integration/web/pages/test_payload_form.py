"""The form of a task by the register: fields, checks, JSON, recent payloads, SQL; nothing that was typed is lost."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from pgsched import Client
from tests.support.pages import Page
from tests.support.tables import insert_task, task_row
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

Database = psycopg.Connection[dict[str, Any]]
SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "description": "Whom it is for."},
        "times": {"type": "integer", "minimum": 1, "default": 1},
        "kind": {"enum": ["text", "html"]},
        "items": {"type": "array"},
    },
    "required": ["to"],
    "additionalProperties": False,
}


def register(db: Database, **more: Any) -> None:
    entry = {"task_type": "mail", "description": "Send a mail.\nMore of it.", "payload_schema": SCHEMA} | more
    db.execute("select pgsched.register(%s)", (json.dumps([entry]),))


def field(html: str, name: str) -> dict[str, str]:
    """The attributes of a field, with the text of a textarea and what is chosen of a select."""
    page = Page(html)
    found = next(one for one in page.elements if one.attributes.get("name") == name and one.tag != "button")
    value = found.attributes.get("value", found.text)
    if found.tag == "select":
        at = page.elements.index(found)
        options = [one for one in page.elements[at + 1 :] if one.tag == "option"]
        value = next((one.attributes["value"] for one in options if "selected" in one.attributes), "")
    return {**found.attributes, "value": value}


async def test_choosing_a_type_gives_the_fields_of_its_payload(dsn: str, db: Database) -> None:
    register(db)
    async with web(dsn) as http:
        by_link = await http.get("/schedules/new?task_type=mail")
        by_button = await http.post("/schedules/new", data={"task_type": "mail", "queue": "slow", "step": "type"})
        unknown = await http.get("/schedules/new?task_type=other")
    for answer in (by_link, by_button):
        assert answer.status_code == 200
        assert Page(answer.text).problems() == []
        assert {field(answer.text, f"p.{name}")["value"] for name in SCHEMA["properties"]} == {""}  # type: ignore[attr-defined]
        for said in ("Whom it is for.", "default 1", "Send a mail.", "required"):
            assert said in answer.text
    assert field(by_button.text, "queue")["value"] == "slow"
    assert field(unknown.text, "payload")["value"] == "{}"


async def test_fields_make_the_payload(dsn: str, db: Database) -> None:
    register(db)
    typed = {"task_type": "mail", "mode": "fields", "p.to": "ada", "p.times": "", "p.kind": "html", "p.items": "[1]"}
    async with web(dsn) as http:
        answer = await http.post("/schedules/new", data=typed | {"priority": "7"})
    assert answer.status_code == 303, answer.text
    row = task_row(db, int(answer.headers["location"].split("/")[2].partition("?")[0]))
    assert (row["payload"], row["priority"]) == ({"to": "ada", "kind": "html", "items": [1]}, 7)


async def test_faults_stand_beside_the_fields_and_nothing_is_lost(dsn: str, db: Database) -> None:
    register(db)
    typed = {
        "task_type": "mail", "mode": "fields", "p.to": "", "p.times": "0", "p.kind": "html", "p.items": '{"a": 1}',
        "queue": "slow", "cron": "0 8 * * *", "tags": "a, b",
    }  # fmt: skip
    async with web(dsn) as http:
        answer = await http.post("/schedules/new", data=typed)
        # Only the check of the database knows that it is no array.
        then = await http.post("/schedules/new", data=typed | {"p.to": "ada", "p.times": "2"})
    assert (answer.status_code, then.status_code) == (422, 422)
    for name in ("p.to", "p.times"):
        assert field(answer.text, name)["aria-invalid"] == "true"
    assert "to is required" in answer.text
    assert "times must be at least 1, got 0" in answer.text
    assert field(then.text, "p.items")["aria-invalid"] == "true"
    assert "must be array, got object" in then.text
    for name, text in typed.items():
        assert field(answer.text, name)["value"] == text, name
    assert db.execute("select from pgsched.tasks").rowcount == 0


async def test_json_and_fields_take_over_from_each_other(dsn: str, db: Database) -> None:
    register(db)
    typed = {"task_type": "mail", "mode": "fields", "p.to": "ada", "p.times": "2", "name": "kept"}
    async with web(dsn) as http:
        as_json = await http.post("/schedules/new", data=typed | {"step": "json"})
        text = field(as_json.text, "payload")["value"]
        back = await http.post(
            "/schedules/new",
            data={"task_type": "mail", "mode": "json", "payload": '{"to": "eve", "times": 3}', "step": "fields"},
        )
        cannot = await http.post(
            "/schedules/new", data={"task_type": "mail", "mode": "json", "payload": '{"to": 5}', "step": "fields"}
        )
    assert json.loads(text) == {"to": "ada", "times": 2}
    assert field(as_json.text, "name")["value"] == "kept"
    assert (field(back.text, "p.to")["value"], field(back.text, "p.times")["value"]) == ("eve", "3")
    assert cannot.status_code == 422
    assert json.loads(field(cannot.text, "payload")["value"]) == {"to": 5}


async def test_recent_payload_is_a_template_of_the_same_type_alone(dsn: str, client: Client, db: Database) -> None:
    register(db)
    recent = client.schedule("mail", {"to": "grace", "times": 4})
    other = insert_task(db, "other", payload='{"secret": "s"}')
    typed = {"task_type": "mail", "mode": "fields", "p.to": "ada", "queue": "slow"}
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
        listed = await http.post("/schedules/new", data=typed | {"step": "recent"})
        taken = await http.post("/schedules/new", data=typed | {"template": str(recent)})
        by_link = await http.get(f"/schedules/new?task_type=mail&template={recent}")
        foreign = await http.post("/schedules/new", data=typed | {"template": str(other)})
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        refused = await http.post("/schedules/new", data=typed | {"template": str(recent)})
    assert f'name="template" value="{recent}"' in listed.text
    assert f'value="{other}"' not in listed.text
    assert field(listed.text, "p.to")["value"] == "ada"
    for answer in (taken, by_link):
        assert (field(answer.text, "p.to")["value"], field(answer.text, "p.times")["value"]) == ("grace", "4")
    assert field(taken.text, "queue")["value"] == "slow"
    assert foreign.status_code == 422
    assert "secret" not in foreign.text
    assert refused.status_code == 403


async def test_sql_is_shown_and_nothing_is_inserted(dsn: str, db: Database) -> None:
    register(db)
    typed = {
        "task_type": "mail", "mode": "fields", "p.to": "o'hara", "p.times": "2", "queue": "slow", "step": "sql",
        "idempotency_key": "one",
    }  # fmt: skip
    async with web(dsn) as http:
        answer = await http.post("/schedules/new", data=typed)
        wrong = await http.post("/schedules/new", data=typed | {"priority": "99"})
    shown = next(one for one in Page(answer.text).all("pre")).text
    assert db.execute("select from pgsched.tasks").rowcount == 0
    db.execute(shown)  # type: ignore[call-overload]
    row = task_row(db, db.execute("select id from pgsched.tasks").fetchone()["id"])  # type: ignore[index]
    assert (row["payload"], row["queue"], row["idempotency_key"]) == ({"to": "o'hara", "times": 2}, "slow", "one")
    assert wrong.status_code == 422


async def test_payload_is_edited_and_retried_by_the_same_fields(dsn: str, client: Client, db: Database) -> None:
    register(db, strict=True)
    one = client.schedule("mail", {"to": "ada", "times": 2})
    async with web(dsn) as http:
        form = await http.get(f"/tasks/{one}/edit")
        assert (field(form.text, "p.to")["value"], field(form.text, "p.times")["value"]) == ("ada", "2")
        faulty = await http.post(f"/tasks/{one}/edit", data={"mode": "fields", "p.to": "eve", "p.times": "x"})
        saved = await http.post(f"/tasks/{one}/edit", data={"mode": "fields", "p.to": "eve", "p.times": ""})
        strict = await http.post(f"/tasks/{one}/edit", data={"mode": "json", "payload": '{"to": 5}'})
        client.cancel(one)
        again = await http.get(f"/tasks/{one}/retry")
        as_json = await http.post(f"/tasks/{one}/retry", data={"mode": "fields", "p.to": "eve", "step": "json"})
        missing = await http.post(f"/tasks/{one}/retry", data={"mode": "fields", "p.to": ""})
        retried = await http.post(f"/tasks/{one}/retry", data={"mode": "fields", "p.to": "grace"})
    assert faulty.status_code == 422
    assert field(faulty.text, "p.to")["value"] == "eve"
    assert saved.status_code == 303, saved.text
    assert strict.status_code == 422
    assert field(again.text, "p.to")["value"] == "eve"
    assert json.loads(field(as_json.text, "payload")["value"]) == {"to": "eve"}
    assert "to is required" in missing.text
    assert retried.status_code == 303
    row = task_row(db, one)
    assert (row["payload"], row["status"]) == ({"to": "grace"}, "pending")


async def test_two_who_edit_the_fields_of_one_payload_are_asked(dsn: str, client: Client, db: Database) -> None:
    register(db)
    one = client.schedule("mail", {"to": "ada", "times": 2})
    async with web(dsn) as http:
        form = await http.get(f"/tasks/{one}/edit")
        seen = {"seen": field(form.text, "seen")["value"], "mode": "fields"}
        client.update(one, name="theirs")
        kept = await http.post(f"/tasks/{one}/edit", data=seen | {"p.to": "ada", "p.times": "3", "name": ""})
        client.update(one, {"to": "theirs", "times": 2})
        untouched = await http.post(f"/tasks/{one}/edit", data=seen | {"p.to": "ada", "p.times": "2"})
        asked = await http.post(f"/tasks/{one}/edit", data=seen | {"p.to": "mine", "p.times": "2"})
    assert kept.status_code == 303, kept.text
    assert (untouched.status_code, asked.status_code) == (303, 409)
    row = task_row(db, one)
    assert (row["task_name"], row["payload"]) == ("theirs", {"to": "theirs", "times": 2})
    assert field(asked.text, "p.to")["value"] == "mine"
