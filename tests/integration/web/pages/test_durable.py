"""The page of a durable task: its run on an axis of time, its mailbox, answers to its waits, restarts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from pgsched import App, AsyncClient, DurableContext
from pgsched.db.migrations.runner import migrate
from pgsched.testing import drain_async
from pgsched.web import WebSettings
from pgsched.web.dashboard import durable as durable_page
from tests.support.pages import Element, Page
from tests.support.roles import login
from tests.support.tables import insert_task, set_running, task_row
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

HIDING = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def app(dsn: str) -> App:
    app = App(dsn=dsn, capture_logs=None)

    @app.task("order", durable=True)
    async def order(ctx: DurableContext, fails: bool = False) -> Any:
        charge = await ctx.step("charge", lambda: {"receipt": "s3cret-result"})
        for seat in ("a", "b"):
            await ctx.step("book", lambda: None, key=seat)
        if fails:
            await ctx.step("ship", refuse, max_attempts=1)
        answer = await ctx.wait_for("approved", timeout="2d")
        return {**charge, "answer": answer}

    @app.task("parent", durable=True)
    async def parent(ctx: DurableContext) -> Any:
        return await ctx.run("child", {"n": 1}, step="the child", queue="elsewhere")

    @app.task("nap", durable=True)
    async def nap(ctx: DurableContext) -> None:
        await ctx.step("charge", lambda: 1)
        await ctx.sleep("cool off", "3h")

    app.task("child")(lambda n: n)
    return app


def refuse() -> None:
    raise ValueError("because of s3cret-error")


async def begin(app: App, task_type: str = "order", payload: dict[str, Any] | None = None, **options: Any) -> int:
    """Run a task until it waits, or is over."""
    async with AsyncClient(app.dsn) as client:
        made = await client.schedule(task_type, payload or {}, **options)
    await drain_async(app, queues=["default"], raises=False)
    return int(made)


async def look(dsn: str, path: str, settings: WebSettings | None = None, token: str | None = None) -> Page:
    async with web(dsn, settings, token=token) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    assert page.problems() == []
    return page


def audit(db: Connection) -> list[tuple[str, Any]]:
    rows = db.execute("select action, after from pgsched.audit_log order by id").fetchall()
    return [(row["action"], row["after"]) for row in rows]


def rows(page: Page) -> list[Element]:
    """The rows of the steps."""
    return [e for e in page.all("tr") if "data-row" in e.attributes]


def paths(page: Page) -> list[str]:
    return [e.attributes["action"] for e in page.all("form") if e.attributes.get("method") == "post"]


# What is shown.


async def test_steps_stand_in_their_order_with_bar_status_and_result(app: App, dsn: str) -> None:
    made = await begin(app)
    page = await look(dsn, f"/tasks/{made}")
    assert [row.text.split(" ")[0] for row in rows(page)] == ["charge", "book", "book", "approved"]
    charge, _, seat, wait = rows(page)
    for words in ("step took", "completed", "s3cret-result"):
        assert words in charge.text
    assert "book b step" in seat.text
    assert "waits for approved until 20" in wait.text
    assert "waiting" in wait.text
    tracks = [e.attributes["aria-label"] for e in page.all("svg") if e.attributes["class"] == "track"]
    assert len(tracks) == 4
    assert tracks[-1] == "waits for approved"
    assert "4 steps recorded. Waiting for approved until 20" in page.text


async def test_a_sleep_says_until_when_and_how_long_it_was(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app, "nap")
    assert "Sleeping until 20" in (await look(dsn, f"/tasks/{made}")).text
    db.execute(
        """
        update pgsched.durable_steps
        set started_at = started_at - interval '3 hours', finished_at = finished_at - interval '3 hours',
          began_at = began_at - interval '3 hours', wakes_at = now()
        """
    )
    db.execute("update pgsched.durable_runs set began_at = began_at - interval '3 hours'")
    db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (made,))
    await drain_async(app)
    page = await look(dsn, f"/tasks/{made}")
    assert "slept 3 h" in page.text
    assert "the run has ended" in page.text
    assert "idle time, compressed" in page.text


async def test_a_failed_step_shows_attempts_and_error(app: App, dsn: str) -> None:
    made = await begin(app, payload={"fails": True}, max_attempts=1)
    page = await look(dsn, f"/tasks/{made}")
    failed = rows(page)[-1].text
    assert "ship" in failed
    assert "because of s3cret-error" in failed


async def test_a_step_that_is_tried_again_shows_attempts_and_when(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    db.execute(
        """
        update pgsched.durable_steps
        set status = 'failing', attempts = 2, error = 'no luck', finished_at = null,
          wakes_at = now() + interval '1 hour'
        where name = 'charge'
        """
    )
    text = rows(await look(dsn, f"/tasks/{made}"))[0].text
    for words in ("will be retried at 20", "failing", "2 attempts", "Error: no luck"):
        assert words in text


async def test_a_child_is_linked(app: App, dsn: str) -> None:
    made = await begin(app, "parent")
    page = await look(dsn, f"/tasks/{made}")
    (row,) = rows(page)
    assert "the child" in row.text
    links = {e.attributes["href"]: e.text for e in page.all("a") if "td" in e.inside}
    assert links[f"/tasks/{made + 1}"] == f"waits for task {made + 1}"
    assert f"Waiting for task {made + 1} ." in page.text


async def test_the_mailbox_shows_who_sent_what_and_what_is_consumed(app: App, dsn: str) -> None:
    made = await begin(app)
    async with AsyncClient(dsn) as client:
        await client.emit(made, "approved", {"note": "first-payload"}, event_key="click")
        await client.emit(made, "declined", ["second"])
    await drain_async(app)
    page = await look(dsn, f"/tasks/{made}")
    first, second = (e.text for e in page.all("tr")[-2:])
    for words in ("approved key click", "first-payload", "postgres"):
        assert words in first
    assert "waiting" not in first
    assert "declined" in second
    assert "waiting" in second


async def test_a_plain_task_has_no_run_and_is_asked_for_none(dsn: str, db: Connection) -> None:
    made = insert_task(db)
    page = await look(dsn, f"/tasks/{made}")
    assert not {"run", "mailbox"} & {e.attributes.get("id") for e in page.all("h2")}
    assert "Send an event…" not in page.text


async def test_a_run_that_was_before_is_shown_by_its_beginning(app: App, dsn: str) -> None:
    made = await begin(app)
    async with AsyncClient(dsn) as client:
        await client.restart(made)
    page = await look(dsn, f"/tasks/{made}")
    assert "the run has ended" in page.text
    assert "waited for approved when the run ended" in page.text
    await drain_async(app)
    page = await look(dsn, f"/tasks/{made}")
    assert "the run has ended" not in page.text
    (other,) = (e.attributes["href"] for e in page.all("a") if "?run=" in e.attributes["href"])
    assert "the run has ended" in (await look(dsn, other)).text


async def test_long_runs_are_shown_part_by_part(app: App, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await begin(app)
    monkeypatch.setattr(durable_page, "STEPS", 2)
    page = await look(dsn, f"/tasks/{made}")
    assert [row.text.split(" ")[0] for row in rows(page)] == ["book", "approved"]
    (earlier,) = (e for e in page.all("a") if "earlier" in e.text)
    assert earlier.text == "← 2 earlier"
    page = await look(dsn, earlier.attributes["href"])
    assert [row.text.split(" ")[0] for row in rows(page)] == [
        "charge",
        "book",
        "approved",
    ]  # what waits is always there
    assert "Latest" in [e.text for e in page.all("a")]


async def test_results_and_payloads_that_are_too_long_are_left_out(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    long = json.dumps("x" * 70_000)
    db.execute("update pgsched.durable_steps set result = %s where name = 'charge'", (long,))
    async with AsyncClient(dsn) as client:
        await client.emit(made, "declined", "x" * 70_000)
    page = await look(dsn, f"/tasks/{made}")
    assert page.text.count("too long for this page") == 2
    assert len(page.text) < 60_000


async def test_hidden_payloads_are_not_shown_to_viewers(app: App, dsn: str) -> None:
    made = await begin(app)
    dead = await begin(app, payload={"fails": True}, max_attempts=1)
    async with AsyncClient(dsn) as client:
        await client.emit(made, "declined", {"why": "s3cret-payload"})
    for task_id, words in ((made, "s3cret-result"), (made, "s3cret-payload"), (dead, "s3cret-error")):
        page = await look(dsn, f"/tasks/{task_id}", HIDING, VIEWER_TOKEN)
        assert "s3cret" not in " ".join([page.text, *page.values()])
        assert "hidden" in page.text
        assert words in (await look(dsn, f"/tasks/{task_id}", HIDING, OPERATOR_TOKEN)).text


# Answers.


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        ({"answer": "approve"}, {"approved": True}),
        ({"answer": "reject", "comment": " too dear "}, {"approved": False, "comment": "too dear"}),
        ({"payload": '["any", 1, null]'}, ["any", 1, None]),
        ({"payload": ""}, None),
    ],
)
async def test_an_answer_ends_the_wait(app: App, dsn: str, db: Connection, form: dict[str, str], payload: Any) -> None:
    made = await begin(app)
    async with web(dsn) as client:
        answer = await client.post(f"/tasks/{made}/emit", data={"name": "approved", **form})
        shown = Page((await client.get(answer.headers["location"])).text)
    assert answer.status_code == 303
    (event,) = db.execute("select * from pgsched.durable_events").fetchall()
    assert (event["task_id"], event["name"], event["payload"]) == (made, "approved", payload)
    assert [e.text for e in shown.all("p") if e.attributes.get("class") == "notice"] == [
        f"Event {event['id']} was sent."
    ]
    assert audit(db) == [("task.emit", {"event": "approved", "id": event["id"]})]
    assert f"/tasks/{made}/emit" not in paths(shown)  # it has its answer
    await drain_async(app)
    row = task_row(db, made)
    assert (row["status"], row["result"]["answer"]) == ("completed", payload)


async def test_of_two_answers_to_one_wait_the_first_counts(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    page = await look(dsn, f"/tasks/{made}")
    key = next(e.attributes["value"] for e in page.all("input") if e.attributes.get("name") == "key")
    form = {"name": "approved", "key": key}
    async with web(dsn) as client:
        await client.post(f"/tasks/{made}/emit", data=form | {"answer": "reject"})
        second = await client.post(f"/tasks/{made}/emit", data=form | {"answer": "approve"})
        text = Page((await client.get(second.headers["location"])).text).text
    (event,) = db.execute("select id, payload from pgsched.durable_events").fetchall()
    assert event["payload"] == {"approved": False}
    assert f"Nothing was sent: event {event['id']} already had this key." in text
    assert [action for action, _ in audit(db)] == ["task.emit"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "approved", "payload": '{"a": '}, "payload must be JSON"),
        ({"name": "approved", "payload": '{"a": 1, "a": 2}'}, "payload must be JSON"),
        ({"name": "", "payload": "1"}, "name must"),
        ({"name": "x" * 201}, "name must"),
        ({"name": "approved", "key": "k" * 501}, "event_key must"),
    ],
)
async def test_a_form_that_is_refused_keeps_what_was_typed(
    app: App, dsn: str, db: Connection, form: dict[str, str], message: str
) -> None:
    made = await begin(app)
    async with web(dsn) as client:
        answer = await client.post(f"/tasks/{made}/emit", data=form)
    page = Page(answer.text)
    assert answer.status_code == 422
    assert page.problems() == []
    assert message in next(e.text for e in page.all("p") if e.attributes.get("role") == "alert")
    assert "".join(page.all("textarea")[0].words).removeprefix("\n") == form.get("payload", "")
    assert db.execute("select from pgsched.durable_events").fetchall() == []
    assert audit(db) == []


async def test_what_cannot_be_sent_is_refused_with_its_reason(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    db.execute("select pgsched.cancel(%s)", (made,))
    async with web(dsn) as client:
        over = await client.post(f"/tasks/{made}/emit", data={"name": "approved", "answer": "approve"})
        gone = await client.post("/tasks/999/emit", data={"name": "approved", "answer": "approve"})
        odd = await client.post(f"/tasks/{made}/emit", data={"name": "approved", "answer": "perhaps"})
        assert (await client.get("/tasks/999/emit")).status_code == 404
    assert (over.status_code, gone.status_code, odd.status_code) == (409, 404, 422)
    assert "no wait of it can take event" in Page(over.text).text
    assert audit(db) == []


async def test_the_form_of_an_event_offers_what_is_awaited(app: App, dsn: str) -> None:
    made = await begin(app)
    page = await look(dsn, f"/tasks/{made}/emit?name=declined")
    assert [e.attributes["value"] for e in page.all("option")] == ["approved"]
    assert [e.attributes["value"] for e in page.all("input") if e.attributes.get("name") == "name"] == ["declined"]


# Restarts.


async def test_restart_from_a_step_asks_and_keeps_what_came_before(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    page = await look(dsn, f"/tasks/{made}")
    links = {e.text: e.attributes["href"] for e in page.all("a")}
    asked = await look(dsn, links["Restart here… at book b"])
    assert "Kept 2: charge, book [a]" in asked.text
    assert "Discarded and run again 2: book [b], approved" in asked.text
    assert task_row(db, made)["status"] == "blocked"
    form = {e.attributes["name"]: e.attributes["value"] for e in asked.all("input") if e.attributes["type"] == "hidden"}
    async with web(dsn) as client:
        answer = await client.post(f"/tasks/{made}/restart", data=form)
        notice = Page((await client.get(answer.headers["location"])).text).text
    assert f"Task {made} was restarted." in notice
    assert task_row(db, made)["status"] == "pending"
    left = db.execute("select name, key from pgsched.durable_steps order by started_at").fetchall()
    assert [(row["name"], row["key"]) for row in left] == [("charge", ""), ("book", "a")]
    ((action, after),) = audit(db)
    assert (action, after["from_step"], after["from_key"], after["status"]) == ("task.restart", "book", "b", "pending")


async def test_restart_afresh_asks_and_forgets_all(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app, "parent")
    page = await look(dsn, f"/tasks/{made}")
    (href,) = (e.attributes["href"] for e in page.all("a") if e.text == "Restart from the beginning…")
    asked = await look(dsn, href)
    assert "Kept nothing" in asked.text
    assert f"Cancelled task {made + 1}" in asked.text
    async with web(dsn) as client:
        assert (await client.post(f"/tasks/{made}/restart", data={"step": "", "key": ""})).status_code == 303
    assert [task_row(db, one)["status"] for one in (made, made + 1)] == ["pending", "cancelled"]
    assert db.execute("select from pgsched.durable_runs").fetchall() == []


async def test_a_restart_that_cannot_be_says_why_and_has_no_button(app: App, dsn: str, db: Connection) -> None:
    made, plain = await begin(app), insert_task(db)
    async with web(dsn) as client:
        for path, message in (
            (f"/tasks/{made}/restart?step=nothing", "has recorded no step 'nothing'"),
            (f"/tasks/{plain}/restart", "has recorded no step"),
        ):
            asked = await client.get(path)
            assert asked.status_code == 422
            assert message in Page(asked.text).text
            assert paths(Page(asked.text)) == []
        assert (await client.post(f"/tasks/{made}/restart", data={"step": "nothing"})).status_code == 404
        assert (await client.post(f"/tasks/{plain}/restart", data={})).status_code == 409
        db.execute("update pgsched.tasks set status = 'pending', next_run_at = now() where id = %s", (made,))
        set_running(db, made)
        assert "Restart" not in Page((await client.get(f"/tasks/{made}")).text).text
        assert (await client.post(f"/tasks/{made}/restart", data={})).status_code == 409
    assert audit(db) == []


# Who may.


async def test_viewers_see_the_run_and_change_nothing(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    page = await look(dsn, f"/tasks/{made}", PROTECTED, VIEWER_TOKEN)
    assert len(rows(page)) == 4
    assert paths(page) == ["/logout"]
    for words in ("Restart", "Approve", "Send an event"):
        assert words not in page.text
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        for path in ("emit", "restart"):
            assert (await client.get(f"/tasks/{made}/{path}")).status_code == 403
            form = {"name": "approved", "answer": "approve"}
            assert (await client.post(f"/tasks/{made}/{path}", data=form)).status_code == 403
    assert db.execute("select from pgsched.durable_events").fetchall() == []
    assert task_row(db, made)["status"] == "blocked"
    assert audit(db) == []


async def test_roles_of_the_database_may_what_their_pages_offer(
    app: App, dsn: str, db: Connection, database_name: str
) -> None:
    migrate(dsn, roles=True)
    made = await begin(app)
    with (
        login(dsn, f"looks_{database_name}", member_of="pgsched_viewer") as looks,
        login(dsn, f"acts_{database_name}", member_of="pgsched_operator") as acts,
    ):
        assert len(rows(await look(looks, f"/tasks/{made}"))) == 4
        form = {"name": "approved", "answer": "approve"}
        async with web(looks) as client:
            assert (await client.post(f"/tasks/{made}/emit", data=form)).status_code == 403
            assert (await client.post(f"/tasks/{made}/restart", data={})).status_code == 403
        assert len(rows(await look(acts, f"/tasks/{made}"))) == 4
        async with web(acts) as client:
            assert (await client.post(f"/tasks/{made}/restart", data={"step": "approved"})).status_code == 303
            assert (await client.post(f"/tasks/{made}/emit", data=form)).status_code == 303
    assert [action for action, _ in audit(db)] == ["task.restart", "task.emit"]
    (event,) = db.execute("select sent_by from pgsched.durable_events").fetchall()
    assert event["sent_by"] == f"acts_{database_name}"


async def test_a_page_of_another_site_sends_and_restarts_nothing(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    async with web(dsn, headers={"Sec-Fetch-Site": "cross-site"}) as client:
        for path in ("emit", "restart"):
            assert (await client.post(f"/tasks/{made}/{path}", data={"name": "approved"})).status_code == 403
    assert db.execute("select from pgsched.durable_events").fetchall() == []
    assert task_row(db, made)["status"] == "blocked"


async def test_links_lead_below_the_prefix(app: App, dsn: str) -> None:
    made = await begin(app)
    page = await look(dsn, f"/jobs/tasks/{made}", WebSettings(path_prefix="/jobs"))
    assert all(e.attributes["href"].startswith(("/jobs", "#")) for e in page.all("a"))
    assert f"/jobs/tasks/{made}/emit" in paths(page)


async def test_hostile_names_are_text(app: App, dsn: str, db: Connection) -> None:
    made = await begin(app)
    text = "\"><xss onxss='1'>&{{ 7 }}"
    db.execute("update pgsched.durable_steps set name = %s || name, key = %s || key, error = %s", (text, text, text))
    db.execute("update pgsched.durable_runs set awaits = %s, unasked = %s", ([f"event:{text}approved"], [text]))
    async with AsyncClient(dsn) as client:
        await client.emit(made, text, {text: text}, event_key=text)
    page = await look(dsn, f"/tasks/{made}")
    assert not [e for e in page.elements if e.tag.startswith("xss")]
    assert text in page.text
    for link in {e.attributes["href"] for e in page.all("a") if "/restart?step=" in e.attributes["href"]}:
        asked = await look(dsn, link)
        assert parse_qs(urlsplit(link).query)["key"][0].startswith(text)
        assert not [e for e in asked.elements if e.tag.startswith("xss")]
