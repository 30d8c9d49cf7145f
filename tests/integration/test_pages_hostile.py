"""Text that would be markup, in every column that holds foreign text: it is shown as text, everywhere."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from pgsched.web import create_app
from tests.engine import on_loop
from tests.pages import Page
from tests.tables import add_worker, database, insert_task, set_dead
from tests.web_face import web

CORPUS = (
    "<xss1>alert(1)</xss1>",
    "\"><xss2 onxss2='1'>",
    "'><xss3 onxss3=1 x='",
    "</title></textarea></script><xss4>",
    "{{ 7 * 191 }}{% raw %}<xss5>",
    "--><!-- <xss6> ]]><xss7>",
    "&lt;xss8&gt;&#60;xss9&#62;",
    "javascript:xss10()",
    "\u202e<xss11>\u2066",
    "x' onxss12='1",
    "<svg/onxss13=1><style>xss{}</style>",
    "%3Cxss14%3E+%22%27`${1}`",
)
PATHS = ("/", "/tasks", "/schedules", "/workflows", "/queues", "/workers", "/dead", "/executions")


def foreign(page: Page) -> list[str]:
    """What hostile text became markup on a page."""
    found = [e.tag for e in page.elements if e.tag.startswith("xss") or e.tag == "style"]
    found += [name for e in page.elements for name in e.attributes if name.startswith("onxss")]
    found += [
        v for e in page.elements for n, v in e.attributes.items() if n in ("href", "src", "action") and v[:1] != "/"
    ]
    return [one for one in found if one != "#main"]


def fill(connection: psycopg.Connection[dict[str, Any]], text: str) -> list[int]:
    """Rows that hold the text in every column that may."""
    data = json.dumps({text: [text, {text: text}]})
    columns = {
        "task_type": text,
        "task_name": text,
        "queue": text,
        "payload": data,
        "metadata": data,
        "tags": [text],
        "tenant_id": text,
        "user_id": text,
        "created_by": text,
        "concurrency_key": text,
    }
    ids = [
        insert_task(connection, **columns, idempotency_key=text),
        insert_task(connection, **columns, cron_expression="0 8 * * *"),
        insert_task(connection, **columns),
    ]
    ids.append(insert_task(connection, **columns, depends_on=[ids[0]]))
    set_dead(connection, ids[2], error=f"{text}\n{text}")
    connection.execute("update pgsched.tasks set last_error = %s, progress = %s, result = %s", (text, data, data))
    for one in ids:
        connection.execute(
            """
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, error, result)
            values (%s, %s, %s, 1, 1, 'failed', now(), now(), %s, %s)
            """,
            (one, text, text, text, data),
        )
        connection.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now(), %s, %s, %s)
            """,
            (one, text, text, data),
        )
    add_worker(connection, queues=[text], task_types=[text])
    connection.execute("update pgsched.workers set hostname = %s", (text,))
    return ids


@pytest.mark.parametrize("text", CORPUS)
@on_loop
async def test_hostile_text_is_shown_as_text_on_every_page(dsn: str, text: str) -> None:
    with database(dsn) as connection:
        ids = fill(connection, text)
        connection.execute("insert into pgsched.queues (name, paused) values (%s, true)", (text,))
    paths = [*PATHS, *(f"/{place}/{one}" for one in ids for place in ("tasks", "workflows"))]
    paths += [f"/tasks/{one}/edit" for one in ids]
    shown = set()
    async with web(dsn) as client:
        for path in paths:
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            page = Page(answer.text)
            assert foreign(page) == [], path
            assert page.problems() == [], path
            if " ".join(text.split()) in page.text or text in page.values():
                shown.add(path.rsplit("/", 1)[0] or path)
            assert "1337" not in page.text, path
    assert {"/", "/tasks", "/workflows"} <= shown


@pytest.mark.parametrize("text", CORPUS)
@on_loop
async def test_hostile_text_of_a_request_is_shown_as_text(dsn: str, text: str) -> None:
    names = (
        "queue",
        "task_type",
        "status",
        "tag",
        "name",
        "search",
        "priority",
        "within",
        "before",
        "cron",
        "timezone",
    )
    async with web(dsn) as client:
        for name in names:
            for path in ("/tasks", "/schedules", "/dead", "/executions", "/schedules/preview"):
                answer = await client.get(path, params={name: text})
                assert answer.status_code in (200, 422), (path, name, answer.text)
                assert foreign(Page(answer.text)) == [], (path, name)
        fields = dict.fromkeys((*names, "task_type", "payload", "every", "tags", "start"), text)
        answer = await client.post("/schedules/new", data=fields)
        assert answer.status_code == 422
        assert foreign(Page(answer.text)) == []
        answer = await client.get("/", params={"did": text, "n": text})
        assert foreign(Page(answer.text)) == []
        assert text not in answer.text
        answer = await client.get("/", params={"did": "bulk", "n": text})
        assert "? tasks were changed." in answer.text


@on_loop
async def test_without_escaping_hostile_text_would_be_seen(dsn: str) -> None:
    """The negative control: the same look at pages that do not escape finds what became markup."""
    with database(dsn) as connection:
        ids = fill(connection, CORPUS[0])
    app = create_app(dsn)
    app.state.web.templates.env.autoescape = False
    try:
        async with web(dsn, app=app) as client:
            page = Page((await client.get(f"/tasks/{ids[0]}")).text)
    finally:
        await app.state.web.close()
    assert "xss1" in foreign(page)
