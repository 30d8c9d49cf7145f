"""The REST API on what tasks did, and on what a schedule will do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine import on_loop
from tests.tables import database, insert_task
from tests.web_face import web

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


@on_loop
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


@on_loop
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


@on_loop
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
@on_loop
async def test_preview_that_makes_no_sense_is_refused(dsn: str, query: dict[str, Any]) -> None:
    async with web(dsn) as http:
        answer = await http.get(f"{API}/schedules/preview", params=query)
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["detail"]
