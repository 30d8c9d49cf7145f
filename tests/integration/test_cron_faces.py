"""The options of a cron expression come with it from every face."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from tests.support.commands import pgsched
from tests.support.tables import database
from tests.support.web_face import web

OPTIONS = "0 9 LW * mon days=either weeks=2@2030-01-07 except=12-25 instead=workday skipped=skip repeated=second"
WRONG = "0 9 13 * fri days=all"
RULE = 'option days must be both or either, got "all"'
SINCE = datetime(2030, 1, 1, tzinfo=UTC)
FIRST = ["2030-01-07T08:00:00Z", "2030-01-21T08:00:00Z", "2030-02-04T08:00:00Z"]


def kept(dsn: str) -> list[str]:
    with database(dsn) as db:
        return [row["cron_expression"] for row in db.execute("select cron_expression from pgsched.tasks order by id")]


def test_sql_takes_them_in_an_insert_and_in_a_call_of_schedule(dsn: str) -> None:
    with database(dsn) as db:
        db.execute("insert into pgsched.tasks (task_type, cron_expression) values ('mail', %s)", (OPTIONS,))
        db.execute("select pgsched.schedule('mail', cron_expression => %s)", (OPTIONS,))
        ticks = db.execute("select pgsched.next_ticks(%s, 'Europe/Berlin', %s, 3) as at", (OPTIONS, SINCE)).fetchall()
    assert kept(dsn) == [OPTIONS] * 2
    assert [f"{row['at'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for row in ticks] == FIRST


async def test_both_clients_take_them_and_refuse_one_that_makes_no_sense(dsn: str) -> None:
    with Client(dsn) as client:
        task_id = client.schedule("mail", cron="0 9 * * *")
        client.update(task_id, cron=OPTIONS)
        with pytest.raises(InvalidTask, match=RULE):
            client.schedule("mail", cron=WRONG)
    async with AsyncClient(dsn) as client_async:
        await client_async.schedule("mail", cron=OPTIONS)
        with pytest.raises(InvalidTask, match=RULE):
            await client_async.schedule("mail", cron=WRONG)
    assert kept(dsn) == [OPTIONS] * 2


def test_the_command_line_takes_and_previews_them(dsn: str) -> None:
    task_id = pgsched("task", "add", "mail", "--cron", OPTIONS, dsn=dsn).stdout.strip()
    pgsched("task", "edit", task_id, "--cron", OPTIONS + " ", dsn=dsn)
    refused = pgsched("task", "add", "mail", "--cron", WRONG, dsn=dsn)
    assert (refused.code, RULE in refused.stderr) == (1, True)
    zone = ("--timezone", "Europe/Berlin", "--from", SINCE.isoformat())
    assert pgsched("schedule", "next", OPTIONS, *zone, "-n", "3", "--json").json() == FIRST
    assert kept(dsn) == [OPTIONS + " "]


async def test_rest_and_the_dashboard_take_and_preview_them(dsn: str) -> None:
    async with web(dsn) as http:
        made = await http.post("/api/v1/tasks", json={"task_type": "mail", "cron": OPTIONS})
        assert made.status_code == 201, made.text
        asked = {"cron": OPTIONS, "timezone": "Europe/Berlin", "after": SINCE.isoformat(), "n": "3"}
        previewed = (await http.get("/api/v1/schedules/preview", params=asked)).json()
        assert [tick["at"] for tick in previewed["ticks"]] == FIRST
        wrong = await http.post("/api/v1/tasks", json={"task_type": "mail", "cron": WRONG})
        assert (wrong.status_code, RULE in wrong.json()["detail"]) == (422, True)
        form: dict[str, Any] = {"task_type": "mail", "payload": "{}", "cron": OPTIONS}
        assert (await http.post("/schedules/new", data=form)).status_code == 303
        wrong = await http.post("/schedules/new", data=form | {"cron": WRONG})
        assert (wrong.status_code, "option days must be both or either" in wrong.text) == (422, True)
    assert kept(dsn) == [OPTIONS] * 2
