"""One search: offers, chips, how far back it has looked, saved views, short links, and files of what it shows."""

from __future__ import annotations

import csv
import io
import json

import pytest

from pgsched.web.services import search
from tests.support.pages import Page
from tests.support.tables import database, insert_task, set_dead
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, WebSettings, web

HIDING = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)


def found(page: Page) -> list[int]:
    """The tasks that a list shows."""
    return [int(e.text) for e in page.all("a") if e.attributes["href"] == f"/tasks/{e.text}" and "tbody" in e.inside]


async def test_a_bare_number_offers_the_task_and_what_contains_it(dsn: str) -> None:
    with database(dsn) as connection:
        first = insert_task(connection)
        paid = insert_task(connection, payload=json.dumps({"order": first}))
        keyed = insert_task(connection, idempotency_key=f"order-{first}")
        insert_task(connection)
    async with web(dsn) as client:
        answer = await client.get("/tasks", params={"q": str(first), "jump": "1"})
        page = Page(answer.text)
    assert (answer.status_code, page.problems()) == (200, [])
    assert f"Task {first} has this id" in page.text
    assert {paid, keyed} <= set(found(page))


async def test_an_id_or_a_key_alone_leads_to_its_task_from_the_header(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, idempotency_key="bill-7")
    async with web(dsn) as client:
        for query in (f"#{made}", f"id:{made}", "key:bill-7"):
            answer = await client.get("/tasks", params={"q": query, "jump": "1"})
            assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{made}"), query
            assert (await client.get("/tasks", params={"q": query})).status_code == 200
        missing = await client.get("/tasks", params={"q": "#999999", "jump": "1"})
        assert "No matching tasks" in missing.text
        assert (await client.get(f"/t/{made}")).headers["location"] == f"/tasks/{made}"


async def test_terms_and_fields_are_chips_that_can_be_removed_one_by_one(dsn: str) -> None:
    async with web(dsn) as client:
        query = {"q": 'type:bill payload.order = 7 "no  luck"', "queue": "a b"}
        page = Page((await client.get("/tasks", params=query)).text)
    chips = [e.text for e in page.all("span") if e.attributes.get("class") == "chip"]
    assert [text.partition(" × ")[0] for text in chips] == [
        "type:bill",
        "payload.order = 7",
        '"no luck"',  # as a browser shows spaces
        'queue:"a b"',
    ]
    removing = [e.attributes["href"] for e in page.all("a") if e.text.startswith("× Remove")]
    assert removing[1] == "/tasks?q=type%3Abill+%22no++luck%22&queue=a+b"
    assert removing[3] == "/tasks?q=type%3Abill+payload.order+%3D+7+%22no++luck%22"


async def test_a_query_that_cannot_be_read_is_refused_and_kept(dsn: str) -> None:
    async with web(dsn) as client:
        answer = await client.get("/tasks", params={"q": "colour:red"})
        api = await client.get("/api/v1/tasks", params={"q": "colour:red"})
    page = Page(answer.text)
    assert (answer.status_code, api.status_code) == (422, 422)
    assert "the term colour:red must begin with one of" in page.text
    assert "the term colour:red must begin with one of" in api.json()["detail"]
    assert any(e.attributes.get("value") == "colour:red" for e in page.all("input"))


async def test_a_search_says_how_far_back_it_has_looked_and_goes_on_there(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_SCAN", 10)
    monkeypatch.setattr(search, "SECONDS", 0.0)
    with database(dsn) as connection:
        wanted = insert_task(connection, tags=["rare"])
        for _ in range(25):
            insert_task(connection)
    async with web(dsn) as client:
        page = Page((await client.get("/tasks?q=tag:rare")).text)
        assert page.problems() == []
        assert "Searched back to" in page.text
        assert found(page) == []
        (place,) = [e.attributes["data-search-on"] for e in page.elements if "data-search-on" in e.attributes]
        for _ in range(5):
            page = Page((await client.get(place)).text)
            if found(page):
                break
            (place,) = [e.attributes["data-search-on"] for e in page.elements if "data-search-on" in e.attributes]
    assert found(page) == [wanted]


async def test_whoever_may_not_see_payloads_searches_elsewhere(dsn: str) -> None:
    with database(dsn) as connection:
        named = insert_task(connection, task_name="secret-plan", payload='{"a": "hidden"}')
    async with web(dsn, HIDING, token=VIEWER_TOKEN) as client:
        assert found(Page((await client.get("/tasks?q=SECRET")).text)) == [named]
        assert found(Page((await client.get("/tasks?q=hidden")).text)) == []
        for query in ('payload.a = "hidden"', "error:luck", "search:hidden"):
            answer = await client.get("/tasks", params={"q": query})
            assert answer.status_code == 422, query
            assert (await client.get("/api/v1/tasks", params={"q": query})).status_code == 403
        told = await client.get("/tasks/export", params={"format": "jsonl"})
        assert json.loads(told.text)["payload"] is None
        assert "hidden" not in (await client.get("/tasks/export", params={"format": "csv"})).text
    async with web(dsn, HIDING, token=OPERATOR_TOKEN) as client:
        assert found(Page((await client.get("/tasks?q=hidden")).text)) == [named]


async def test_suggestions_are_of_what_is_known(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, "bill", queue="night shift")
    async with web(dsn) as client:
        told = (await client.get("/tasks/suggestions")).json()
    assert {"status:dead", 'queue:"night shift"', "type:bill"} <= set(told)


async def test_a_view_is_saved_shown_linked_and_deleted(dsn: str) -> None:
    async with web(dsn) as client:
        page = Page((await client.get("/tasks?q=status:dead")).text)
        assert "/views?query=status%3Adead" in [e.attributes["href"] for e in page.all("a")]
        wrong = await client.post("/views", data={"name": "Bad name", "query": "status:dead"})
        assert (wrong.status_code, Page(wrong.text).problems()) == (422, [])
        assert "name of a view must begin with a lower-case letter" in Page(wrong.text).text
        wrong = await client.post("/views", data={"name": "dead", "query": "colour:red"})
        assert "the term colour:red" in Page(wrong.text).text
        saved = await client.post("/views", data={"name": "dead-bills", "query": "status:dead type:bill"})
        assert saved.headers["location"] == "/views"
        assert 'href="/v/dead-bills"' in (await client.get("/tasks")).text
        linked = await client.get("/v/dead-bills")
        assert linked.headers["location"] == "/tasks?q=status%3Adead+type%3Abill"
        assert Page((await client.get("/views")).text).problems() == []
        assert (await client.post("/views/delete", data={"name": "dead-bills"})).status_code == 303
        assert (await client.get("/v/dead-bills")).status_code == 404
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        assert (await client.post("/views", data={"name": "a", "query": "x"})).status_code == 403
        assert "Save view" not in (await client.get("/tasks?q=x")).text


async def test_a_file_has_all_that_fits_and_no_formula(dsn: str) -> None:
    with database(dsn) as connection:
        made = [insert_task(connection, queue="mail", task_name='=HYPERLINK("x")', tags=["@a"]) for _ in range(120)]
        other = insert_task(connection, task_name="+1")
        set_dead(connection, other)
    async with web(dsn) as client:
        answer = await client.get("/tasks/export", params={"q": "queue:mail"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="tasks.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [int(row["id"]) for row in rows] == sorted(made, reverse=True)
        assert {row["task_name"] for row in rows} == {'\'=HYPERLINK("x")'}
        assert {row["tags"] for row in rows} == {'["@a"]'}
        lines = (await client.get("/api/v1/tasks/export", params={"status": "dead", "format": "jsonl"})).text
        assert [json.loads(line)["id"] for line in lines.splitlines()] == [other]
        wrong = await client.get("/tasks/export", params={"format": "xml"})
        assert (wrong.status_code, "format must be one of csv, jsonl" in wrong.text) == (422, True)
