"""Text that would be markup, in every column that holds foreign text: it is shown as text, everywhere."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from pgsched.web import create_app
from tests.support.hostile import fill
from tests.support.pages import Page
from tests.support.tables import database
from tests.support.web_face import web

CORPUS = (
    "<xss1>alert(1)</xss1>",
    "\"><xss2 onxss2='1'>",
    "'><xss3 onxss3=1 x='",
    "</title></textarea></script><xss4>",
    "{{ 7 * 1763668414462081 }}{% raw %}<xss5>",
    "--><!-- <xss6> ]]><xss7>",
    "&lt;xss8&gt;&#60;xss9&#62;",
    "javascript:xss10()",
    "\u202e<xss11>\u2066",
    "x' onxss12='1",
    "<svg/onxss13=1><style>xss{}</style>",
    "%3Cxss14%3E+%22%27`${1}`",
)
PATHS = (
    *("/", "/tasks", "/schedules", "/upcoming", "/workflows", "/queues", "/workers", "/handlers", "/dead"),
    "/executions",
)


def foreign(page: Page) -> list[str]:
    """What hostile text became markup on a page."""
    found = [e.tag for e in page.elements if e.tag.startswith("xss") or e.tag == "style"]
    found += [name for e in page.elements for name in e.attributes if name.startswith("onxss")]
    found += [
        v for e in page.elements for n, v in e.attributes.items() if n in ("href", "src", "action") and v[:1] != "/"
    ]
    return [one for one in found if one != "#main"]


@pytest.mark.slow
@pytest.mark.parametrize("text", CORPUS)
async def test_hostile_text_is_shown_as_text_on_every_page(dsn: str, text: str) -> None:
    with database(dsn) as connection:
        ids = fill(connection, text)
        connection.execute("insert into pgsched.queues (name, paused) values (%s, true)", (text,))
        connection.execute(
            "insert into pgsched.handlers (task_type, description, version, payload_schema, versions)"
            " values (%s, %s, %s, %s, jsonb_build_array(jsonb_build_object('version', %s::text, 'since', %s::text)))",
            (text, text, text, json.dumps({text: text}), text, text),
        )
    paths = [*PATHS, *(f"/{place}/{one}" for one in ids for place in ("tasks", "workflows"))]
    paths += [f"/tasks/{one}/edit" for one in ids]
    paths.append(f"/handlers/type?name={quote(text)}")
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
            assert "12345678901234567" not in page.text, path
    assert {"/", "/tasks", "/workflows", "/handlers"} <= shown


@pytest.mark.parametrize("text", CORPUS)
async def test_hostile_text_of_a_request_is_shown_as_text(dsn: str, text: str) -> None:
    names = (
        "q",
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
        answer = await client.get("/", params={"did": "bulk", "n": "7"})
        assert "tasks were changed" not in answer.text


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
