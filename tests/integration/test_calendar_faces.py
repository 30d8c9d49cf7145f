"""Calendars from Python, the command line, REST and the dashboard, and previews that know their days."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, CalendarNotFound, Client, InvalidCron, InvalidTask, TransitionRefused, preview
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.web.api import examples
from tests.support.commands import Ended, pgsched
from tests.support.engine import rows
from tests.support.pages import Page, form_of
from tests.support.tables import database, insert_task, task_row
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, notice_of, web

API = "/api/v1"
EVE = datetime(2040, 12, 24, 12, tzinfo=UTC)
CHRISTMAS = "0 9 24-27 12 * except=@holidays"
TICKS = [datetime(2040, 12, day, 9, tzinfo=UTC) for day in (26, 27)]
"""The first ticks of CHRISTMAS after EVE, where 12-25 is left out."""
BAD_NAME = "name of a calendar must be a lower-case letter and up to 62 more letters, digits, _ or -, got "
BAD_DAY = "days of calendar holidays must look like 12-25 or 2030-04-19, got "


def stored(dsn: str) -> dict[str, list[str]]:
    with database(dsn) as db:
        return {row["name"]: row["days"] for row in rows(db, "select name, days from pgsched.calendars")}


def noted(dsn: str) -> list[tuple[Any, ...]]:
    with database(dsn) as db:
        found = rows(db, "select action, target, before, after from pgsched.audit_log order by id")
    return [tuple(row.values()) for row in found]


# Python.


def test_a_calendar_is_made_replaced_and_deleted(client: Client, dsn: str) -> None:
    assert client.calendars() == []
    assert client.set_calendar("holidays", ["12-25", date(2030, 4, 19), "01-01", "12-25"]) == "created"
    assert client.calendars() == [Calendar(name="holidays", days=["01-01", "12-25", "2030-04-19"], schedules=0)]
    assert client.set_calendar("holidays", []) == "replaced"
    assert stored(dsn) == {"holidays": []}
    client.delete_calendar("holidays")
    with pytest.raises(CalendarNotFound, match=r"^calendar holidays does not exist$"):
        client.delete_calendar("holidays")


def test_schedules_that_name_a_calendar_are_counted_and_keep_it(client: Client, dsn: str) -> None:
    client.set_calendar("holi", ["12-24"])
    client.set_calendar("holidays", ["12-25"])
    client.schedule("mail", cron="0 9 * * * EXCEPT=12-24,@Holidays,@holidays")
    kept = client.schedule("mail", cron="0 9 * * * except=@holidays instead=workday")
    client.schedule("mail", cron="0 9 * * * except=12-25")
    client.cancel(kept)
    with database(dsn) as db:
        assert {one.name: one.schedules for one in client.calendars()} == {"holi": 0, "holidays": 2}
        with pytest.raises(TransitionRefused, match=r"^calendar holidays is named by the cron expression of task \d+$"):
            client.delete_calendar("holidays")
        db.execute("delete from pgsched.tasks")
    client.delete_calendar("holidays")
    assert stored(dsn) == {"holi": ["12-24"]}


def test_a_schedule_is_planned_afresh_when_its_calendar_is_replaced(client: Client) -> None:
    client.set_calendar("holidays", ["12-25"])
    task_id = client.schedule("mail", cron=CHRISTMAS, start=EVE)
    assert client.get(task_id).next_run_at == TICKS[0]
    client.set_calendar("holidays", ["12-26"])
    assert client.get(task_id).next_run_at == EVE.replace(day=25, hour=9)


@pytest.mark.parametrize(
    ("name", "days", "problem"),
    [
        ("Holidays", ["12-25"], f"{BAD_NAME}'Holidays'"),
        ("", ["12-25"], f"{BAD_NAME}''"),
        ("a\0", ["12-25"], f"{BAD_NAME}'a\\x00'"),
        ("x" * 64, ["12-25"], f"{BAD_NAME}{'x' * 64!r}"),
        ("x", ["12-25", "2030-02-29"], "days of calendar x must look like 12-25 or 2030-04-19, got '2030-02-29'"),
        ("x", ["1225"], "days of calendar x must look like 12-25 or 2030-04-19, got '1225'"),
        ("x", ["١٢-25"], "days of calendar x must look like 12-25 or 2030-04-19, got '١٢-25'"),
        ("x", [5], "days of calendar x must look like 12-25 or 2030-04-19, got '5'"),
        ("x", "12-25", "days of calendar x must be a list, got '12-25'"),
        ("x", [date.fromordinal(day) for day in range(1, 1002)], "days of calendar x must be at most 1000, got 1001"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client: Client, dsn: str, name: str, days: Any, problem: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        client.set_calendar(name, days)
    assert str(refused.value) == problem
    assert stored(dsn) == {}


def test_days_that_leave_a_schedule_none_are_refused(client: Client, dsn: str) -> None:
    client.set_calendar("holidays", ["12-25"])
    client.schedule("mail", cron="0 9 24 12 * except=@holidays")
    with pytest.raises(InvalidTask, match="can never fire: its options leave no day"):
        client.set_calendar("holidays", ["12-24"])
    assert stored(dsn) == {"holidays": ["12-25"]}


async def test_async(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        assert await client.set_calendar("holidays", ["12-25"]) == "created"
        assert await client.set_calendar("holidays", ["12-25"]) == "replaced"
        assert await client.calendars() == [Calendar(name="holidays", days=["12-25"], schedules=0)]
        assert await client.preview(CHRISTMAS, after=EVE, n=2) == TICKS
        await client.delete_calendar("holidays")
        with pytest.raises(CalendarNotFound):
            await client.delete_calendar("holidays")


# The command line.


def test_command_line(dsn: str, client: Client) -> None:
    def run(*arguments: str) -> Ended:
        return pgsched("calendar", *arguments, dsn=dsn)

    assert run("list").stdout == "no calendars\n"
    assert run("set", "holidays", "2030-04-19", "12-25", "12-25") == Ended(
        0, "calendar holidays: created, 2 days\n", ""
    )
    assert run("set", "holidays", "12-25") == Ended(0, "calendar holidays: replaced, 1 day\n", "")
    client.schedule("mail", cron=CHRISTMAS)
    assert [line.split() for line in run("list").stdout.splitlines()] == [
        ["CALENDAR", "SCHEDULES", "DAYS"],
        ["holidays", "1", "12-25"],
    ]
    assert run("list", "--json").json() == [{"name": "holidays", "days": ["12-25"], "schedules": 1}]
    assert run("set", "holidays").code == 2
    assert run("set", "holidays", "13-01").error == f"{BAD_DAY}'13-01'"
    refused = run("delete", "holidays", "--yes")
    assert (refused.code, refused.error) == (1, "calendar holidays is named by the cron expression of task 1")
    with database(dsn) as db:
        db.execute("delete from pgsched.tasks")
    assert run("delete", "holidays").code == 2
    assert run("delete", "holidays", "--yes") == Ended(0, "calendar holidays: deleted\n", "")
    refused = run("delete", "holidays", "--yes")
    assert (refused.code, refused.error) == (1, "calendar holidays does not exist")


# REST.


async def test_rest(dsn: str) -> None:
    url = f"{API}/calendars/holidays"
    async with web(dsn) as http:
        assert (await http.get(f"{API}/calendars")).json() == []
        made = await http.put(url, json={"days": ["2030-04-19", "12-25"]})
        assert (made.status_code, made.json()) == (201, examples.CALENDAR | {"schedules": 0})
        with database(dsn) as db:
            task_id = insert_task(db, cron_expression=CHRISTMAS)
        for _ in range(2):
            replaced = await http.put(url, json={"days": ["12-25"]})
            assert (replaced.status_code, replaced.json()["days"], replaced.json()["schedules"]) == (200, ["12-25"], 1)
        assert (await http.get(f"{API}/calendars")).json() == [replaced.json()]
        kept = await http.delete(url)
        assert (kept.status_code, kept.json()["detail"]) == (
            409,
            f"calendar holidays is named by the cron expression of task {task_id}",
        )
        assert (await http.delete(f"{API}/tasks/{task_id}")).status_code == 204
        assert (await http.delete(url)).status_code == 204
        gone = await http.delete(url)
        assert (gone.status_code, gone.json()["detail"]) == (404, "calendar holidays does not exist")
        for name, days, field in (("x", ["1225"], "days"), ("Holidays", ["12-25"], "name"), ("x", [5], "days.0")):
            wrong = await http.put(f"{API}/calendars/{name}", json={"days": days})
            assert (wrong.status_code, wrong.json()["field"]) == (422, field), wrong.text
    assert stored(dsn) == {}
    assert [one for one in noted(dsn) if one[0].startswith("calendar")] == [
        ("calendar.set", "holidays", None, {"days": ["12-25", "2030-04-19"]}),
        ("calendar.set", "holidays", {"days": ["12-25", "2030-04-19"]}, {"days": ["12-25"]}),
        ("calendar.delete", "holidays", {"days": ["12-25"]}, None),
    ]


async def test_viewers_see_calendars_and_change_none(dsn: str, client: Client) -> None:
    client.set_calendar("holidays", ["12-25"])
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        assert len((await http.get(f"{API}/calendars")).json()) == 1
        page = Page((await http.get("/calendars")).text)
        assert [one.attributes["action"] for one in page.all("form") if one.attributes.get("method") == "post"] == [
            "/logout"
        ]
        assert (await http.put(f"{API}/calendars/holidays", json={"days": []})).status_code == 403
        assert (await http.delete(f"{API}/calendars/holidays")).status_code == 403
        assert (await http.get("/calendars/edit?name=holidays")).status_code == 403
        for path in ("/calendars/edit", "/calendars/delete"):
            assert (await http.post(path, data={"name": "holidays", "days": ""})).status_code == 403
    assert stored(dsn) == {"holidays": ["12-25"]}


# The dashboard.


async def test_pages_list_edit_and_delete(dsn: str, client: Client) -> None:
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
        empty = Page((await http.get("/calendars")).text)
        assert "No calendars yet" in empty.text
        form = Page((await http.get("/calendars/edit?name=holidays")).text)
        assert (form.problems(), form_of(form)) == ([], {"days": ""})
        answer = await http.post("/calendars/edit", data={"name": "holidays", "days": "12-25,\r\n2030-04-19  12-25 "})
        assert (answer.status_code, answer.headers["location"]) == (303, "/calendars")
        assert notice_of(answer) == "The days of the calendar were updated."
        assert stored(dsn) == {"holidays": ["12-25", "2030-04-19"]}
        again = form_of(Page((await http.get("/calendars/edit?name=holidays")).text))
        assert again == {"days": "12-25\n2030-04-19"}
        answer = await http.post("/calendars/edit", data=again | {"name": "holidays"})
        assert (answer.headers["location"], notice_of(answer)) == ("/calendars", "")
        wrong = await http.post("/calendars/edit", data={"name": "holidays", "days": "1225 12-26"})
        page = Page(wrong.text)
        assert (wrong.status_code, page.problems(), form_of(page)["days"]) == (422, [], "1225 12-26")
        assert f"{BAD_DAY}'1225'" in page.text
        task_id = client.schedule("mail", cron=CHRISTMAS)
        listed = Page((await http.get("/calendars")).text)
        assert listed.problems() == []
        assert "holidays 12-25, 2030-04-19 1 schedules with holidays" in listed.text
        assert not [one for one in listed.all("form") if one.attributes.get("action") == "/calendars/delete"]
        found = await http.get("/schedules?search=@holidays")
        assert f"/tasks/{task_id}/edit" in found.text
        assert (await http.post("/calendars/delete", data={"name": "holidays"})).status_code == 409
        client.delete(task_id)
        listed = Page((await http.get("/calendars")).text)
        (button,) = [one for one in listed.all("form") if one.attributes.get("action") == "/calendars/delete"]
        assert button.attributes["data-confirm"] == "Delete calendar holidays?"
        answer = await http.post("/calendars/delete", data={"name": "holidays"})
        assert "The calendar was deleted." in (await http.get(answer.headers["location"])).text
        assert (await http.get("/calendars/edit?name=a b")).status_code == 422
        assert (await http.post("/calendars/delete", data={"name": "holidays"})).status_code == 404
    assert stored(dsn) == {}
    assert noted(dsn) == [
        ("calendar.set", "holidays", None, {"days": ["12-25", "2030-04-19"]}),
        ("calendar.delete", "holidays", {"days": ["12-25", "2030-04-19"]}, None),
    ]


# Previews.


def test_preview_takes_the_days_of_calendars() -> None:
    assert preview(CHRISTMAS, after=EVE, n=2, calendars={"holidays": ["12-25"], "more": ["12-26"]}) == TICKS
    with pytest.raises(InvalidTask, match=r"use Client\.preview or pgsched\.next_ticks"):
        preview(CHRISTMAS)
    with pytest.raises(InvalidCron, match=r"except=@holidays.*: its options leave no day"):
        preview("0 9 25 12 * except=@holidays", calendars={"holidays": ["12-25"]})


def test_previews_read_the_calendars(client: Client, dsn: str) -> None:
    client.set_calendar("holidays", ["12-25"])
    assert client.preview(CHRISTMAS, after=EVE, n=2) == TICKS
    assert client.preview(CHRISTMAS.upper(), after=EVE, n=2) == TICKS
    assert client.preview(every="1h", after=EVE, n=1) == [EVE]
    with pytest.raises(InvalidCron, match=r'a calendar that is not in pgsched\.calendars, got "@gone"$'):
        client.preview("0 9 * * * except=@holidays,@gone")
    command = ("schedule", "next", CHRISTMAS, "--from", EVE.isoformat(), "-n", "2", "--json")
    assert pgsched(*command, dsn=dsn).json() == ["2040-12-26T09:00:00Z", "2040-12-27T09:00:00Z"]
    nowhere = pgsched(*command, dsn="host=127.0.0.1 port=1 connect_timeout=1")
    assert (nowhere.code, nowhere.error.startswith("cannot connect to PostgreSQL")) == (1, True)


async def test_previews_of_rest_and_the_dashboard_read_the_calendars(dsn: str, client: Client) -> None:
    client.set_calendar("holidays", ["12-25", "12-26", "12-27"])
    first = client.preview(CHRISTMAS, n=1)[0]
    assert first.day == 24
    async with web(dsn) as http:
        told = (await http.get(f"{API}/schedules/preview", params={"cron": CHRISTMAS})).json()
        assert datetime.fromisoformat(told["ticks"][0]["at"]) == first
        assert {datetime.fromisoformat(one["at"]).day for one in told["ticks"]} == {24}
        shown = await http.get("/schedules/preview", params={"cron": CHRISTMAS})
        pressed = await http.post("/schedules/new", data={"cron": CHRISTMAS, "look": "yes"})
        for answer in (shown, pressed):
            assert answer.text.count("-12-24 09:00:00 UTC =") == 5
        gone = await http.get(f"{API}/schedules/preview", params={"cron": "0 9 * * * except=@gone"})
        assert (gone.status_code, 'got "@gone"' in gone.json()["detail"]) == (422, True)
        gone = await http.get("/schedules/preview", params={"cron": "0 9 * * * except=@gone"})
        assert "a calendar that is not in pgsched.calendars" in gone.text


def test_python_and_sql_refuse_a_calendar_that_is_not_there_alike(client: Client, dsn: str) -> None:
    expression = "0 9 * * * except=12-25,@gone"
    with pytest.raises(InvalidCron) as said:
        client.preview(expression)
    with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        insert_task(db, cron_expression=expression)
    rule = str(said.value).partition(": ")[2]
    assert rule == 'option except names a calendar that is not in pgsched.calendars, got "@gone"'
    assert (refused.value.diag.message_primary or "").endswith(rule)


def test_task_shows_next_runs_around_its_calendar(client: Client, dsn: str) -> None:
    client.set_calendar("holidays", ["12-25"])
    task_id = client.schedule("mail", cron=CHRISTMAS, start=EVE)
    with database(dsn) as db:
        assert task_row(db, task_id)["next_run_at"] == client.preview(CHRISTMAS, after=EVE, n=1)[0]
