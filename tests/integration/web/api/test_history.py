"""The REST API on what tasks did, and on what a schedule will do."""

from __future__ import annotations

from typing import Any

import pytest

from pgsched.web.services import search as attempts
from tests.support.tables import database, insert_task
from tests.support.web_face import web

API = "/api/v1"


def add_execution(connection: Any, task_id: int, token: int) -> None:
    """One attempt in the history."""
    connection.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, duration_ms, error)
        values (%s, 'mail', 'default', %s, %s, 'failed', now(), now(), 1.5, 'no luck')
        """,
        (task_id, token, token),
    )


async def test_attempts_are_listed_page_by_page_and_outlive_their_task(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection)
        for token in range(1, 6):
            add_execution(connection, task_id, token)
        async with web(dsn) as http:
            assert (await http.delete(f"{API}/tasks/{task_id}")).status_code == 204
            query = {"limit": "2"}
            found: list[int] = []
            while True:
                page = (await http.get(f"{API}/tasks/{task_id}/executions", params=query)).json()
                found += [item["fencing_token"] for item in page["items"]]
                if page["next_cursor"] is None:
                    break
                query["cursor"] = page["next_cursor"]
            assert found == [5, 4, 3, 2, 1]
            wrong = await http.get(f"{API}/tasks/{task_id}/executions", params={"cursor": "WyJ0YXNrcyIsIDE3XQ"})
            assert wrong.status_code == 422


async def test_logged_lines_and_missed_ticks_are_told(dsn: str) -> None:
    with database(dsn) as connection:
        task_id = insert_task(connection, cron_expression="0 8 * * 1")
        connection.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now(), 'info', 'sent', '{"bytes": 5}')
            """,
            (task_id,),
        )
        connection.execute(
            """
            insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)
            values (%s, 'mail', 'default', 'skip', 3, now())
            """,
            (task_id,),
        )
    async with web(dsn) as http:
        (line,) = (await http.get(f"{API}/tasks/{task_id}/logs")).json()
        assert (line["message"], line["fields"]) == ("sent", {"bytes": 5})
        (missed,) = (await http.get(f"{API}/tasks/{task_id}/missed-ticks")).json()
        assert (missed["reason"], missed["ticks"]) == ("skip", 3)
        told = (await http.get(f"{API}/tasks/{task_id}")).json()
        assert told["missed_ticks"] == [missed]
        assert (await http.get(f"{API}/tasks/{task_id}/executions")).json() == {"items": [], "next_cursor": None}


async def test_preview_tells_the_ticks_and_what_the_clocks_do(dsn: str) -> None:
    query = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "after": "2026-10-24T12:00:00Z", "n": "2"}
    async with web(dsn) as http:
        told = (await http.get(f"{API}/schedules/preview", params=query)).json()
        assert told["schedule"].startswith("every day at 02:30, Europe/Berlin time")
        first, second = told["ticks"]
        assert (first["at"], first["local"]) == ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00")
        assert first["note"] == "this hour comes twice, this is the first time"
        assert (second["at"], second["note"]) == ("2026-10-26T01:30:00Z", None)
        query = {"every": "15m", "times": "2", "start": "2030-01-31T08:00:00Z"}
        told = (await http.get(f"{API}/schedules/preview", params=query)).json()
        assert [tick["at"] for tick in told["ticks"]] == ["2030-01-31T08:00:00Z", "2030-01-31T08:15:00Z"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"cron": "x"},
        {"cron": "0 0 30 2 *"},
        {"every": "15m", "cron": "0 8 * * 1"},
        {"every": "0"},
        {"every": "soon"},
        {"cron": "0 8 * * 1", "timezone": "Mars"},
        {"cron": "0 8 * * 1", "timezone": "\0"},
        {"cron": "0 8 * * 1", "n": "0"},
        {"cron": "0 8 * * 1", "n": "1001"},
        {"cron": "0 8 * * 1", "after": "2030-01-31T08:00:00"},
        {"cron": "0 8 * * 1", "times": "3"},
    ],
    ids=str,
)
async def test_preview_that_makes_no_sense_is_refused(dsn: str, query: dict[str, Any]) -> None:
    async with web(dsn) as http:
        answer = await http.get(f"{API}/schedules/preview", params=query)
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["detail"]


def add_attempt(connection: Any, task_id: int, *, ago: str, **columns: str) -> None:
    """An attempt that began so long ago."""
    values = {"queue": "default", "task_type": "mail", "status": "completed"} | columns
    connection.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, duration_ms)
        values (%s, %s, %s, 1, 1, %s, now() - %s::interval, now() - %s::interval, 1)
        """,
        (task_id, values["task_type"], values["queue"], values["status"], ago, ago),
    )


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, [1, 2, 3]),
        ({"within": "1d"}, [1, 2, 3, 4]),
        ({"within": "300"}, [1, 2]),
        ({"queue": "other"}, [2]),
        ({"task_type": "report"}, [3]),
        ({"status": "failed", "within": "1d"}, [2, 4]),
        ({"status": "failed", "queue": "default"}, []),
    ],
)
async def test_attempts_at_all_tasks_are_filtered(dsn: str, query: dict[str, str], wanted: list[int]) -> None:
    with database(dsn) as connection:
        add_attempt(connection, 1, ago="1 second")
        add_attempt(connection, 2, ago="2 minutes", queue="other", status="failed")
        add_attempt(connection, 3, ago="50 minutes", task_type="report")
        add_attempt(connection, 4, ago="3 hours", status="failed")
    async with web(dsn) as http:
        for limit in ({}, {"limit": "1"}):
            page: dict[str, Any] = {"next_cursor": ""}
            found: list[int] = []
            while page["next_cursor"] is not None:  # on a busy machine also without a limit: a page has its time
                cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
                page = (await http.get(f"{API}/executions", params=query | limit | cursor)).json()
                found += [one["task_id"] for one in page["items"]]
            assert found == wanted


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ({"status": "odd"}, "status must be one of completed, failed, timed_out, cancelled, lost, snoozed, got 'odd'"),
        ({"within": "soon"}, 'within: interval "soon" must be'),
        ({"within": "0"}, "within must be between 1 second and 366 days, got '0'"),
        ({"within": "400d"}, "within must be between 1 second and 366 days, got '400d'"),
        ({"limit": "0"}, "limit must be between 1 and 10000, got 0"),
        ({"queue": "a\0b"}, "queue must be text without the character"),
        ({"cursor": "WyJ0YXNrcyIsIDE3XQ"}, "cursor must be the next_cursor of a response of this very list"),
    ],
)
async def test_question_for_attempts_that_makes_no_sense_is_refused(dsn: str, query: dict[str, str], rule: str) -> None:
    async with web(dsn) as http:
        refused = await http.get(f"{API}/executions", params=query)
    assert refused.status_code == 422
    assert rule in refused.json()["detail"]
    assert refused.json()["field"] == rule.split(" ")[0].rstrip(":")


async def test_attempts_are_all_found_by_pages_that_look_back_a_little_each(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SECONDS", -1.0)  # each page looks through one span
    with database(dsn) as connection:
        for number in range(3):
            add_attempt(connection, number + 1, ago=f"{number * 20} seconds")
    async with web(dsn) as http:
        query, found, pages = {"within": "2m"}, [], 0
        while True:
            answer = await http.get(f"{API}/executions", params=query)
            assert answer.status_code == 200, answer.text
            page, pages = answer.json(), pages + 1
            found += [one["task_id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
    assert found == [1, 2, 3]
    assert pages > 3
