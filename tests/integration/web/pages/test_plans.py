"""The lists of schedules and workflows, the graph with its folds, and the tasks of a workflow in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from pgsched import App, Client
from pgsched.db.queries import overviews
from pgsched.flow import group, parallel, step
from pgsched.testing import drain_async
from tests.support.pages import Page
from tests.support.tables import insert_task
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]


async def ran(dsn: str, **handlers: Callable[[], None]) -> None:
    """Run all that is due and may become due soon."""
    app = App(dsn=dsn)
    for name, handler in handlers.items():
        app.task(name)(handler)
    await drain_async(app, raises=False)


def rows(html: str) -> list[str]:
    return [" ".join(row.text.split()) for row in Page(html).all("tr") if "data-row" in row.attributes]


async def test_schedules_are_sorted_by_their_next_run_and_filtered(dsn: str, client: Client, db: Database) -> None:
    late = client.schedule("report", cron="0 0 1 1 *", queue="mail")
    soon = client.schedule("beat", every="1m", name="the pulse")
    disabled = insert_task(db, "report", cron_expression="* * * * *", enabled=False)
    paused = client.schedule("report", every="1h", queue="slow")
    client.pause_queue("slow")
    db.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at, duration_ms, error)
        select %s, 'beat', 'default', n, n, case n when 2 then 'failed' else 'completed' end, now() - interval '1 h',
          now(), n * 1500, null
        from generate_series(1, 2) n
        """,
        (soon,),
    )
    async with web(dsn) as http:
        every = rows((await http.get("/schedules")).text)
        chosen = {
            query: [row.split()[0] for row in rows((await http.get(f"/schedules?{query}")).text)]
            for query in ("queue=mail", "task_type=beat", "search=pulse", "state=disabled", "state=paused")
        }
        wrong = await http.get("/schedules?state=odd")
    assert [int(row.split()[0]) for row in every] == [soon, paused, late, disabled]
    assert "failed of" in every[0]
    assert "3.0 s" in every[0]
    assert chosen == {
        "queue=mail": [str(late)],
        "task_type=beat": [str(soon)],
        "search=pulse": [str(soon)],
        "state=disabled": [str(disabled)],
        "state=paused": [str(paused)],
    }
    assert wrong.status_code == 422


async def test_schedules_go_on_where_the_page_ends(dsn: str, client: Client) -> None:
    made = [client.schedule("report", cron=f"{n} 3 * * *") for n in range(52)]
    async with web(dsn) as http:
        first = await http.get("/schedules")
        (onwards,) = [one for one in Page(first.text).all("a") if one.attributes.get("rel") == "next"]
        second = await http.get(onwards.attributes["href"])
    listed = [int(row.split()[0]) for row in rows(first.text) + rows(second.text)]
    assert len(rows(first.text)) == 50
    assert sorted(listed) == sorted(made)


async def test_a_workflow_is_one_row_that_says_how_far_it_is(dsn: str, client: Client) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    whole = client.schedule_group(
        group(parallel(step("fine", name="a"), step("fails", name="b", max_attempts=1)), step("fine", name="c")),
        name="import",
    )
    ups = [client.schedule("fine") for _ in range(3)]
    middle = client.schedule("fine", depends_on=ups)
    end = client.schedule("never", depends_on=[middle], name="the end")
    await ran(dsn, fine=lambda: None, fails=fail)
    dead = client.dead(queue="default")
    async with web(dsn) as http:
        answer = await http.get("/workflows")
        of_status = rows((await http.get("/workflows?status=dead")).text)
        none = await http.get("/workflows?search=nothing")
    assert Page(answer.text).problems() == []
    listed = {int(row.split()[0]): row for row in rows(answer.text)}
    assert list(listed) == [end, whole]
    assert "4/5" in listed[end]
    assert "1/3" in listed[whole]
    failed = next(one.id for one in dead if one.task_type == "fails")
    assert f'<a class="bad" href="/tasks/{failed}">' in answer.text
    assert [int(row.split()[0]) for row in of_status] == [whole]
    assert "No matching workflows" in none.text


async def test_steps_of_a_group_are_no_rows_and_the_list_goes_on(
    dsn: str, client: Client, db: Database, monkeypatch: Any
) -> None:
    monkeypatch.setattr(overviews, "STRETCH", 3)
    whole = client.schedule_group(group(*(step("fine", name=f"part {n}") for n in range(6))))
    await ran(dsn)
    async with web(dsn) as http:
        answer = await http.get("/workflows")
        found: list[str] = []
        for _ in range(5):
            found += rows(answer.text)
            onwards = [one for one in Page(answer.text).all("a") if one.attributes.get("rel") == "next"]
            if not onwards:
                break
            answer = await http.get(onwards[0].attributes["href"])
    assert [int(row.split()[0]) for row in found] == [whole]
    assert "0/6" in found[0]


async def test_graph_folds_what_is_alike_and_opens_it(dsn: str, client: Client) -> None:
    many = [client.schedule("part", name=f"part {n}") for n in range(2_000)]
    last = client.schedule("join", depends_on=many)
    async with web(dsn) as http:
        folded = await http.get(f"/workflows/{last}")
        opened = await http.get(f"/workflows/{last}?open={many[0]}")
        in_time = await http.get(f"/workflows/{last}?view=time")
        wrong = await http.get(f"/workflows/{last}?view=odd")
    for answer in (folded, opened, in_time):
        assert answer.status_code == 200
        assert Page(answer.text).problems() == []
    assert "part × 2,000" in folded.text
    assert folded.text.count('class="node node-') == 3  # the join, the box of the others, and what is behind it
    assert len(folded.text) < 150_000
    assert "1,701 more boxes are not shown" in opened.text
    assert "Fold all" in opened.text
    assert "The 300 tasks that started first are shown, 1,701 more are not." in in_time.text
    assert wrong.status_code == 422


async def test_tasks_are_shown_in_time_with_every_attempt(dsn: str, client: Client) -> None:
    tries: list[int] = []

    def fine_at_last() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")

    first = client.schedule("fine", name="first")
    second = client.schedule("later", depends_on=[first], name="second")
    await ran(dsn, fine=fine_at_last)
    client.retry(first)
    await ran(dsn, fine=fine_at_last)
    async with web(dsn) as http:
        answer = await http.get(f"/workflows/{second}?view=time")
    listed = rows(answer.text)
    assert [row.split()[0] for row in listed] == [str(first), str(second)]
    assert "not started" in listed[1]
    assert answer.text.count("bar-failed") == 1
    assert answer.text.count("bar-completed") == 1
