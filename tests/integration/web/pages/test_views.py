"""Every page, empty and with rows; the rules that all of them keep; what viewers get."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from pgsched.ops.doctor.catalogue import NAMES, OF_ANY_SCHEMA
from pgsched.web import WebSettings
from pgsched.web.dashboard import overview as overview_page
from pgsched.web.middleware import CONTENT_SECURITY_POLICY
from tests.support.engine import engine
from tests.support.pages import Page
from tests.support.tables import add_worker, database, insert_task, set_completed, set_dead, set_running
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

LISTS = (
    "/",
    "/tasks",
    "/schedules",
    "/upcoming",
    "/workflows",
    "/queues",
    "/workers",
    "/handlers",
    "/dead",
    "/executions",
    "/doctor",
    "/calendars",
)
FOR_OPERATORS = ("/schedules/new", "/queues/settings?queue=mail", "/calendars/edit?name=x", "/audit")


def fill(dsn: str) -> dict[str, int]:
    """One row of every kind; their ids."""
    with database(dsn) as connection:
        ids = {
            "waiting": insert_task(connection, queue="mail", payload=json.dumps({"to": "ada"}), tags=["red"]),
            "running": insert_task(connection),
            "dead": insert_task(connection, task_name="the dead one"),
            "completed": insert_task(connection),
            "recurring": insert_task(connection, "report", cron_expression="30 2 * * *", timezone="Europe/Berlin"),
            "repeating": insert_task(connection, "report", repeat_interval="15 minutes"),
            "paused": insert_task(connection, "report", cron_expression="0 8 * * mon", enabled=False),
        }
        ids["blocked"] = insert_task(connection, depends_on=[ids["waiting"]])
        set_running(connection, ids["running"])
        set_dead(connection, ids["dead"], error="Traceback:\n  line 7\nValueError: no luck")
        set_completed(connection, ids["completed"])
        add_worker(connection, queues=["mail"], task_types=["mail"])
        connection.execute("insert into pgsched.queues (name, paused, limits) values ('slow', true, '{\"rate\": 3}')")
        for number, status in enumerate(("failed", "completed"), 1):
            connection.execute(
                """
                insert into pgsched.executions (
                  task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, duration_ms,
                  error)
                values (%s, 'mail', 'default', %s, %s, %s, now() - interval '20 seconds', now(), 20000, %s)
                """,
                (ids["dead"], number, number, status, "ValueError: no luck" if status == "failed" else None),
            )
        connection.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now(), 'info', 'hello from the log', '{"a": 1}')
            """,
            (ids["dead"],),
        )
    return ids


@pytest.mark.parametrize("path", LISTS + FOR_OPERATORS)
async def test_page_of_an_empty_database_is_shown(dsn: str, path: str) -> None:
    async with web(dsn) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert Page(answer.text).problems() == []


@pytest.mark.parametrize("path", LISTS)
async def test_page_with_rows_keeps_the_rules(dsn: str, path: str) -> None:
    fill(dsn)
    async with web(dsn) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert Page(answer.text).problems() == []
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


async def test_page_of_every_kind_of_task_keeps_the_rules(dsn: str) -> None:
    ids = fill(dsn)
    async with web(dsn) as client:
        for name, task_id in ids.items():
            for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/edit", f"/workflows/{task_id}"):
                answer = await client.get(path)
                assert answer.status_code == 200, (name, path, answer.text)
                assert Page(answer.text).problems() == [], (name, path)


async def test_register_of_handlers_is_shown_and_each_type_has_a_page(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(
            """
            select pgsched.register('[{"task_type": "mail/one", "version": "1"}, {"task_type": "old"}]');
            select pgsched.register('[{"task_type": "mail/one", "version": "2", "strict": true,
              "description": "Send one mail.\\nAt once.", "defaults": {"queue": "mail", "max_attempts": 7},
              "payload_schema": {"required": ["to"]}, "result_schema": {"type": "integer"}}]');
            update pgsched.handlers set retired_at = now() where task_type = 'old'
            """
        )
        add_worker(connection, queues=["mail"], task_types=["mail/one"])
    async with web(dsn) as client:
        answer = await client.get("/handlers")
        rows = [" ".join(e.text.split()) for e in Page(answer.text).all("tr")]
        assert [row.split()[0] for row in rows] == ["Type", "mail/one", "old"]
        for said in ("served", "strict", "2", "mail", "max_attempts 7", "Send one mail."):
            assert said in rows[1]
        assert "retired" in rows[2]
        (link,) = {e.attributes["href"] for e in Page(answer.text).all("a") if e.text == "mail/one"}
        shown = await client.get(link)
        assert shown.status_code == 200
        page = Page(shown.text)
        assert page.problems() == []
        for said in ("At once.", "max_attempts", "required", "integer", "queues mail", "2, since", "1, since"):
            assert said in page.text, said
        assert [e.text for e in page.all("a") if e.attributes.get("aria-current") == "page"] == ["Handlers"]
        assert (await client.get("/handlers/type", params={"name": "nobody"})).status_code == 404
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        assert (await client.get(link)).status_code == 200


def test_rules_are_broken_by_a_page_that_breaks_them() -> None:
    page = Page(
        '<html><h1></h1><main><p style="color: red" id="a">x</p><p id="a"><input name="q"><button></button>'
        '<script>alert(1)</script><a href="https://example.com">x</a></main></html>'
    )
    found = " | ".join(page.problems())
    for rule in ("inline: p style", "id given twice", "no label", "no words: button", "inline: script", "elsewhere"):
        assert rule in found, found
    assert "unbalanced" in found
    assert "lang" in found


async def test_overview_names_what_is_wrong(dsn: str) -> None:
    ids = fill(dsn)
    with database(dsn) as connection:
        insert_task(connection, "unknown", queue="mail")
        insert_task(connection, queue="slow", scheduled_for="2020-01-01 12:00+00")
        connection.execute("insert into pgsched.queues (name, paused) values ('empty', true)")
        for queue, number in (("many", 10), ("few", 9)):
            for _ in range(number):
                set_dead(connection, insert_task(connection, queue=queue))
        connection.execute(
            "update pgsched.tasks set next_run_at = now() - interval '1 hour' where id = %s", (ids["recurring"],)
        )
    async with web(dsn) as client:
        said = (await client.get("/api/v1/doctor")).json()["findings"]  # first: a page does not wait long for it
        page = Page((await client.get("/")).text)
        schedules = Page((await client.get("/schedules")).text)
    problems = [e.text for e in page.all("li")]
    assert "unknown in mail: 1 task due, and no living worker of queue mail has a handler for unknown." in problems
    assert "mail in many: 10 tasks died in the last hour." in problems
    assert any(f"and did not: task {ids['recurring']}." in one for one in problems)
    assert any(one.startswith("slow: paused, with 1 task due in it") for one in problems)
    # What the doctor says, and nothing else: a paused queue without tasks, for one, is fine.
    wrong = [one["object"] for one in said if one["severity"] != "hint"]
    assert "mail in few" not in wrong
    assert [one for one in problems if ": " in one and one.partition(": ")[0] not in wrong] == []
    assert [one for one in wrong if not any(text.startswith(f"{one}: ") for text in problems)] == []
    assert ["stalled" in e.text for e in schedules.all("tr") if f" {ids['recurring']} " in f" {e.text} "] == [True]


async def test_doctor_says_what_is_wrong_what_to_do_and_what_was_looked_at(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute("drop index pgsched.tasks_due")
    async with web(dsn) as client:
        shown = Page((await client.get("/doctor")).text)
        overview = Page((await client.get("/")).text).text
        said = (await client.get("/api/v1/doctor")).json()
    for words in ("the index tasks_due of pgsched.tasks is missing", "CREATE INDEX tasks_due", "late_starts ok"):
        assert words in shown.text
    assert "tasks_due: the index tasks_due of pgsched.tasks is missing." in overview
    assert said["healthy"] is False
    assert "indexes" in [one["check"] for one in said["findings"]]
    assert [one["check"] for one in said["checks"]] == list(NAMES)


async def test_overview_does_not_wait_for_a_slow_doctor(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_page, "PATIENCE", 0.0)
    async with web(dsn) as client:
        text = Page((await client.get("/")).text).text
    assert "The health checks have not finished yet." in text


async def test_overview_of_a_healthy_database_has_nothing_wrong(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OF_ANY_SCHEMA, "durability", lambda facts: iter(()))  # the tests' server is not careful
    async with web(dsn) as client:
        assert "All healthy" in Page((await client.get("/")).text).text


async def test_overview_says_what_only_a_person_ends(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OF_ANY_SCHEMA, "durability", lambda facts: iter(()))
    with database(dsn) as connection:
        set_dead(connection, insert_task(connection))
        insert_task(connection, queue="mail")
        connection.execute("insert into pgsched.queues (name, paused) values ('mail', true), ('empty', true)")
    async with web(dsn) as client:
        text = Page((await client.get("/")).text).text
    assert "All healthy" not in text
    assert "Needs attention" in text
    assert "mail: paused, 1 ready." in text
    assert "1 dead letter." in text
    assert "empty: paused" not in text


async def test_overview_counts_what_ended_in_the_hour(dsn: str) -> None:
    async with engine(dsn) as one:
        with database(dsn) as connection:
            for _ in range(3):
                insert_task(connection)
        await one.work()
    async with web(dsn) as client:
        text = Page((await client.get("/")).text).text
    assert "Processed, 60 min 3" in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=dead", {"dead"}),
        ("status=running", {"running"}),
        ("status=completed", {"completed"}),
        ("queue=mail", {"waiting"}),
        ("task_type=report", {"recurring", "repeating", "paused"}),
        ("schedule_type=repeating", {"repeating"}),
        ("enabled=no", {"paused"}),
        ("tag=red", {"waiting"}),
        ("name=DEAD", {"dead"}),
        ("search=ada", {"waiting"}),
        ("error=no+luck", {"dead"}),
        ("queue=nothing", set()),
    ],
)
async def test_filter_finds_what_fits(dsn: str, query: str, expected: set[str]) -> None:
    ids = fill(dsn)
    async with web(dsn) as client:
        answer = await client.get(f"/tasks?{query}")
    assert answer.status_code == 200
    found = {int(one) for one in re.findall(r'data-select value="(\d+)"', answer.text)}
    assert found == {ids[name] for name in expected}


async def test_pages_of_tasks_follow_each_other_without_gap_or_repeat(dsn: str) -> None:
    with database(dsn) as connection:
        made = [insert_task(connection) for _ in range(120)]
    seen: list[int] = []
    path = "/tasks"
    async with web(dsn) as client:
        while path:
            page = Page((await client.get(path)).text)
            seen += [int(e.attributes["value"]) for e in page.elements if "data-select" in e.attributes]
            path = next((e.attributes["href"] for e in page.all("a") if e.attributes.get("rel") == "next"), "")
    assert seen == sorted(made, reverse=True)


async def test_pages_of_dead_letters_and_executions_follow_each_other(dsn: str) -> None:
    with database(dsn) as connection:
        made = [insert_task(connection) for _ in range(60)]
        for task_id in made:
            set_dead(connection, task_id)
            connection.execute(
                """
                insert into pgsched.executions (
                  task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
                values (%s, 'mail', 'default', 1, 1, 'failed', now(), now())
                """,
                (task_id,),
            )
    async with web(dsn) as client:
        for path in ("/dead", "/executions"):
            seen: list[str] = []
            while path:
                page = Page((await client.get(path)).text)
                seen += [e.text for e in page.all("th") if e.attributes.get("scope") == "row"]
                path = next((e.attributes["href"] for e in page.all("a") if e.attributes.get("rel") == "next"), "")
            assert sorted(map(int, seen)) == sorted(made)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/tasks?status=broken", "status must be one of"),
        ("/tasks?priority=high", "priority must be a whole number"),
        ("/tasks?enabled=perhaps", "enabled must be yes or no"),
        ("/tasks?before=x", "before must be a whole number"),
        ("/executions?within=1y", "within must be one of"),
        ("/executions?status=odd", "status must be one of"),
        ("/dead?died=yesterday&before=1", "died must be a time"),
    ],
)
async def test_filter_that_makes_no_sense_is_refused_with_its_rule(dsn: str, path: str, message: str) -> None:
    async with web(dsn) as client:
        answer = await client.get(path)
    assert answer.status_code == 422
    assert message in Page(answer.text).text


async def test_unknown_task_is_not_found(dsn: str) -> None:
    async with web(dsn) as client:
        answers = [await client.get(path) for path in ("/tasks/77", f"/tasks/{10**30}", "/workflows/77")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


async def test_task_shows_attempts_traceback_log_and_insert(dsn: str) -> None:
    ids = fill(dsn)
    async with web(dsn) as client:
        page = Page((await client.get(f"/tasks/{ids['dead']}")).text)
    assert "line 7" in page.text
    assert "hello from the log" in page.text
    assert "attempt 2" in page.text
    assert "insert into pgsched.tasks" in page.text
    assert any("timeline" in one.attributes.get("class", "") for one in page.all("svg"))


async def test_insert_of_a_task_makes_one_like_it(dsn: str) -> None:
    with database(dsn) as connection:
        payload = {"text": 'it\'s \\ a "quote"\n$$', "n": [1, None, True]}
        first = insert_task(
            connection, payload=json.dumps(payload), tags=["a'b", "c,d"], task_name="x\\'y", timeout="90 seconds"
        )
        async with web(dsn) as client:
            page = Page((await client.get(f"/tasks/{first}")).text)
        statement = next("".join(e.words) for e in page.all("pre") if "".join(e.words).startswith("insert into"))
        connection.execute(statement.encode())
        rows = connection.execute(
            "select payload, tags, task_name, timeout, scheduled_for from pgsched.tasks order by id"
        ).fetchall()
    assert rows[0] == rows[1]


async def test_preview_marks_a_change_of_the_clocks(dsn: str) -> None:
    query = "cron=30+2+*+*+*&timezone=Europe/Berlin&start=2030-03-30T12:00Z"
    async with web(dsn) as client:
        answer = await client.get(f"/schedules/preview?{query}")
        wrong = await client.get("/schedules/preview?cron=1+2+3")
    assert answer.text.count("<li>") == 5
    assert "the clocks have just gone forward" in answer.text
    assert wrong.status_code == 200
    assert "must have 5 fields" in Page(wrong.text).elements[0].text


@pytest.mark.parametrize("path", LISTS)
async def test_viewer_gets_no_buttons_that_change_something(dsn: str, path: str) -> None:
    ids = fill(dsn)
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
        for one in (path, f"/tasks/{ids['waiting']}", f"/tasks/{ids['dead']}"):
            page = Page((await client.get(one)).text)
            posts = [e.attributes["action"] for e in page.all("form") if e.attributes.get("method") == "post"]
            assert posts == ["/logout"], one
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as client:
        page = Page((await client.get(f"/tasks/{ids['waiting']}")).text)
        assert len([e for e in page.all("form") if e.attributes.get("method") == "post"]) > 1


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/1/run",
        "/tasks/1/edit",
        "/tasks/bulk",
        "/schedules/new",
        "/queues/pause",
        "/queues/settings",
        "/dead/retry",
        "/dead/purge",
        "/tasks/1/backfill",
        "/calendars/edit",
        "/calendars/delete",
    ],
)
async def test_viewer_may_not_post(dsn: str, path: str) -> None:
    with database(dsn) as connection:
        insert_task(connection)
        before = connection.execute("select count(*), max(updated_at) from pgsched.tasks").fetchone()
        async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as client:
            answer = await client.post(
                path, data={"queue": "default", "confirmed": "yes", "action": "cancel", "ids": "1"}
            )
        assert answer.status_code == 403
        assert connection.execute("select count(*), max(updated_at) from pgsched.tasks").fetchone() == before
        assert connection.execute("select * from pgsched.queues").fetchall() == []


async def test_an_attempt_that_is_not_counted_is_named_so(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        connection.execute(
            """
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
            values (%s, 'mail', 'default', 0, 1, 'lost', now(), now())
            """,
            (made,),
        )
    async with web(dsn) as client:
        for path, words in ((f"/tasks/{made}", "uncounted attempt"), ("/executions", "uncounted")):
            assert words in (await client.get(path)).text


async def test_hidden_payloads_are_not_shown_to_viewers(dsn: str) -> None:
    settings = WebSettings(viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
    secret = "s3cret"
    with database(dsn) as connection:
        made = insert_task(connection, payload=json.dumps({"p": secret}), metadata=json.dumps({"m": secret}))
        set_dead(connection, made, error=f"because of {secret}")
        connection.execute(
            "update pgsched.tasks set result = %s, progress = %s", (json.dumps(secret), json.dumps(secret))
        )
        connection.execute(
            """
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, error, result)
            values (%s, 'mail', 'default', 1, 1, 'failed', now(), now(), %s, %s)
            """,
            (made, secret, json.dumps(secret)),
        )
        connection.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now(), 'info', %s, %s)
            """,
            (made, secret, json.dumps({"f": secret})),
        )
    paths = ("/tasks", f"/tasks/{made}", "/dead", "/executions", "/", f"/workflows/{made}")
    async with web(dsn, settings, token=VIEWER_TOKEN) as client:
        for path in paths:
            assert secret not in (await client.get(path)).text, path
        assert (await client.get("/tasks?search=s3c")).status_code == 422
        assert (await client.get("/tasks?error=s3c")).status_code == 422
    async with web(dsn, settings, token=OPERATOR_TOKEN) as client:
        assert secret in (await client.get(f"/tasks/{made}")).text


async def test_pages_below_a_prefix_lead_to_pages_below_it(dsn: str) -> None:
    fill(dsn)
    async with web(dsn, WebSettings(path_prefix="/jobs")) as client:
        for path in LISTS:
            page = Page((await client.get(f"/jobs{path}")).text)
            assert page.problems() == []
            paths = [e.attributes[n] for e in page.elements for n in ("href", "src", "action") if n in e.attributes]
            assert [one for one in paths if not one.startswith(("/jobs/", "#"))] == []


async def test_files_of_the_pages_are_served(dsn: str) -> None:
    async with web(dsn) as client:
        page = Page((await client.get("/")).text)
        files = [
            e.attributes[n] for e in page.elements for n in ("href", "src") if "/static/" in e.attributes.get(n, "")
        ]
        files += [f"/static/{name}.js" for name in ("times", "keys", "live", "forms")]
        answers = [await client.get(path) for path in files]
    assert len(files) == 8
    assert [answer.status_code for answer in answers] == [200] * len(files)


async def test_run_that_a_change_of_the_clocks_touches_is_marked(dsn: str) -> None:
    schedule = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}
    with database(dsn) as connection:
        odd = insert_task(connection, start_date="2040-10-27 12:00+00", **schedule)
        plain = insert_task(connection, start_date="2040-06-01 12:00+00", **schedule)
    note = "this hour comes twice, this is the first time"
    async with web(dsn) as client:
        marked = Page((await client.get(f"/tasks/{odd}")).text)
        assert marked.problems() == []
        assert f"Sun 2040-10-28 02:30:00 Europe/Berlin = 2040-10-28 00:30:00 UTC {note}" in marked.text
        assert note not in (await client.get(f"/tasks/{plain}")).text
        listed = Page((await client.get("/schedules")).text)
        assert [note in e.text for e in listed.all("tr") if "data-row" in e.attributes] == [False, True]


def as_shown(name: str, text: str) -> str:
    """What a field has: a time in UTC, as a field for times takes it, any other text as it is."""
    if not name.endswith(("_after", "_before")):
        return text
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"created_after": "2020-01-01T00:00", "created_before": "2021-01-01"}, True),
        ({"created_after": "2021-01-01"}, False),
        ({"due_after": "2040-01-01T11:00+00:00", "due_before": "2040-01-01T12:30"}, True),
        ({"due_before": "2040-01-01T13:30+02:00"}, False),
        ({"concurrency_key": "acme"}, True),
        ({"concurrency_key": "other"}, False),
        ({"locked_by": "00000000-0000-0000-0000-000000000001"}, False),
        ({"ended_after": "2020-01-01"}, False),
        ({"started_before": "2040-01-01"}, False),
        ({"depends_on": "999"}, False),
    ],
)
async def test_tasks_are_found_by_times_and_keys_too(dsn: str, asked: dict[str, str], fits: bool) -> None:
    with database(dsn) as connection:
        made = insert_task(
            connection, concurrency_key="acme", created_at="2020-06-01 12:00+00", scheduled_for="2040-01-01 12:00+00"
        )
    async with web(dsn) as client:
        answer = await client.get("/tasks", params=asked)
        page = Page(answer.text)
        assert (answer.status_code, page.problems()) == (200, [])
        assert (f"/tasks/{made}" in [e.attributes.get("href") for e in page.all("a")]) is fits
        assert [e for e in page.all("details") if "open" in e.attributes]
        fields = {e.attributes["name"]: e.attributes.get("value") for e in page.all("input") if "name" in e.attributes}
        assert {name: fields[name] for name in asked} == {name: as_shown(name, text) for name, text in asked.items()}
        typed = [e.attributes["data-exact"] for e in page.all("input") if e.attributes.get("data-exact")]
        assert typed == [text for name, text in asked.items() if as_shown(name, text) != text]
        wrong = await client.get("/tasks", params={"due_after": "soon"})
        assert (wrong.status_code, "due_after must be a time such as 2030-01-31T12:00" in wrong.text) == (422, True)


async def test_overview_tells_what_ended_in_each_queue(dsn: str) -> None:
    fill(dsn)
    async with web(dsn) as client:
        page = Page((await client.get("/")).text)
    row = next(e.text for e in page.all("tr") if e.text.startswith("default") and "data-row" in e.attributes)
    assert " 2 1 1 " in row, row  # two ended, one of them failed, one is dead
