"""The filters of tasks are one set: each list, from each face, finds the same by each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_filters import NUMBERS, SEVERAL, TaskFilters
from tests.support.bulk import make_bulk_changes
from tests.support.commands import pgsched
from tests.support.tables import WORKER, database, insert_task
from tests.support.web_face import web

pytestmark = pytest.mark.slow

FITS: dict[str, Any] = {
    "ids": None,
    "queue": "mail",
    "task_type": "bill",
    "status": "dead",
    "schedule_type": "one_time",
    "priority": 9,
    "tag": "vip",
    "tenant_id": "acme",
    "user_id": "ada",
    "created_by": "cron",
    "enabled": False,
    "idempotency_key": "bill-7",
    "concurrency_key": "acme",
    "parent_id": None,
    "depends_on": None,
    "locked_by": str(WORKER),
    "name": "JULY",
    "search": "Invoice",
    "payload": '{"what": "invoice"}',
    "error": "LUCK",
    "created_after": "2030-01-01T00:00:00+00:00",
    "created_before": "2030-01-03T00:00:00+00:00",
    "due_after": None,
    "due_before": None,
    "started_after": "2030-02-01T00:00:00+00:00",
    "started_before": "2030-02-03T00:00:00+00:00",
    "ended_after": "2030-03-01T00:00:00+00:00",
    "ended_before": "2030-03-03T00:00:00+00:00",
    "text": "INVOICE",
    "label": "bill-7",
    "query": 'type:bill payload.what = "invoice" "of july"',
}
"""A value of each filter that fits one dead task and no other; None: an id that is not known before, or none fits."""
OF_DEAD = [name for name in FITS if name not in ("status", "due_after", "due_before", "locked_by")]
FLAGS = {
    "ids": "id",
    "task_type": "type",
    "tenant_id": "tenant",
    "user_id": "user",
    "idempotency_key": "key",
    "parent_id": "parent",
    "locked_by": "worker",
    "query": "where",
}


def the_dead(dsn: str) -> dict[str, Any]:
    """Make one dead task and several others; returns a value of each filter that fits the dead one alone."""
    with database(dsn) as db:
        parent, upstream = insert_task(db, "other"), insert_task(db, "other")
        for _ in range(3):
            insert_task(db, "other", status="dead", died_at="2040-01-01", created_at="2029-01-01", next_run_at=None)
        fits = insert_task(
            db,
            "bill",
            task_name="Bill of July",
            queue="mail",
            priority=9,
            tags=["vip"],
            tenant_id="acme",
            user_id="ada",
            created_by="cron",
            enabled=False,
            idempotency_key="bill-7",
            concurrency_key="acme",
            parent_id=parent,
            payload='{"what": "invoice"}',
            status="dead",
            next_run_at=None,
            last_error="no luck",
            created_at="2030-01-02",
            started_at="2030-02-02",
            died_at="2030-03-02",
        )
        with db.transaction():
            db.execute("set local session_replication_role = replica")
            db.execute("update pgsched.tasks set depends_on = %s where id = %s", ([upstream], fits))
    return FITS | {"ids": fits, "parent_id": parent, "depends_on": upstream}


class Where(NamedTuple):
    """The database that is asked, and a web face of it: one for all questions, an app takes long over its first."""

    dsn: str
    http: httpx.AsyncClient


Face = Callable[[Where, str, Any], Awaitable[list[int]]]


def _python(name: str, value: Any) -> dict[str, Any]:
    return {name: datetime.fromisoformat(value) if name.endswith(("_after", "_before")) else value}


async def by_list_tasks(where: Where, name: str, value: Any) -> list[int]:
    with Client(where.dsn) as client:
        return [task.id for task in client.list_tasks(**{"status": "dead"} | _python(name, value))]  # type: ignore[arg-type]


async def by_async_list_tasks(where: Where, name: str, value: Any) -> list[int]:
    several = {name: [value]} if name in SEVERAL else _python(name, value)
    async with AsyncClient(where.dsn) as client:
        return [task.id for task in await client.list_tasks(**{"status": ["dead"]} | several)]  # type: ignore[arg-type]


async def by_find_tasks(where: Where, name: str, value: Any) -> list[int]:
    with Client(where.dsn) as client:
        return [task.id for task in client.find_tasks(**{"status": "dead"} | _python(name, value)).tasks]  # type: ignore[arg-type]


async def by_dead(where: Where, name: str, value: Any) -> list[int]:
    with Client(where.dsn) as client:
        return [task.id for task in client.dead(**_python(name, value))]


async def by_async_dead(where: Where, name: str, value: Any) -> list[int]:
    async with AsyncClient(where.dsn) as client:
        return [task.id for task in await client.dead(**_python(name, value))]


def _flags(name: str, value: Any) -> tuple[str, ...]:
    if name == "enabled":
        return ("--enabled" if value else "--paused",)
    return ("--" + FLAGS.get(name, name).replace("_", "-"), str(value))


async def by_task_list(where: Where, name: str, value: Any) -> list[int]:
    command = ("task", "list", "--status", "dead", *_flags(name, value), "--json")
    return [task["id"] for task in (await asyncio.to_thread(pgsched, *command, dsn=where.dsn)).json()]


async def by_dead_list(where: Where, name: str, value: Any) -> list[int]:
    command = ("dead", "list", *_flags(name, value), "--json")
    return [task["id"] for task in (await asyncio.to_thread(pgsched, *command, dsn=where.dsn)).json()]


async def _asked(where: Where, path: str, **query: Any) -> list[int]:
    params = {{"ids": "id", "query": "q"}.get(name, name): value for name, value in query.items()}
    answer = await where.http.get(f"/api/v1{path}", params=params)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["items"]]


async def by_rest(where: Where, name: str, value: Any) -> list[int]:
    return await _asked(where, "/tasks", **{"status": "dead", name: value})


async def by_rest_dead(where: Where, name: str, value: Any) -> list[int]:
    return await _asked(where, "/dead", **{name: value})


async def _page(where: Where, path: str, **query: Any) -> list[int]:
    shown = {key: {True: "yes", False: "no"}[value] if key == "enabled" else value for key, value in query.items()}
    answer = await where.http.get(path, params={"q" if key == "query" else key: value for key, value in shown.items()})
    assert answer.status_code == 200, answer.text
    with Client(where.dsn) as client:
        return [task.id for task in client.dead() if f'href="/tasks/{task.id}"' in answer.text]


async def by_page(where: Where, name: str, value: Any) -> list[int]:
    return await _page(where, "/tasks", **{"status": "dead", name: value})


async def by_page_of_the_dead(where: Where, name: str, value: Any) -> list[int]:
    return await _page(where, "/dead", **{name: value})


FACES: list[Face] = [
    by_list_tasks, by_async_list_tasks, by_find_tasks, by_dead, by_async_dead, by_task_list, by_dead_list, by_rest,
    by_rest_dead, by_page, by_page_of_the_dead,
]  # fmt: skip
FOR_PROGRAMS = {"text", "label"}
WITHOUT: dict[Face, set[str]] = {
    **dict.fromkeys((by_task_list, by_dead_list, by_rest, by_rest_dead), FOR_PROGRAMS),
    **dict.fromkeys((by_page, by_page_of_the_dead), FOR_PROGRAMS | {"ids", "payload"}),
}
"""Filters that a face has only as terms of a query."""


def other(name: str, value: Any) -> Any:
    """A value of a filter that the dead task does not fit."""
    if name.endswith("_after"):
        return "2041-01-01T00:00:00+00:00"
    if name.endswith("_before"):
        return "2028-01-01T00:00:00+00:00"
    if name in NUMBERS:
        return 3 if name == "priority" else value + 1000
    texts = {"schedule_type": "recurring", "payload": '{"what": "else"}'}
    return not value if name == "enabled" else texts.get(name, "elsewhere")


def test_each_filter_is_tried() -> None:
    assert FITS.keys() == TaskFilters.__annotations__.keys()


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
async def test_each_face_finds_the_same_by_each_filter(dsn: str, face: Face) -> None:
    values = await asyncio.to_thread(the_dead, dsn)
    async with web(dsn) as http:
        where = Where(dsn, http)
        for name in OF_DEAD:
            if name in WITHOUT.get(face, ()):
                continue
            found = await face(where, name, values[name])
            assert values["ids"] in found, name
            if name != "schedule_type" and not name.endswith(("_before", "started_after")):
                assert name in ("created_after", "ended_after") or found == [values["ids"]], name
            assert values["ids"] not in await face(where, name, other(name, values[name])), name


def test_lists_refuse_the_same(client: Client) -> None:
    for ask in (client.list_tasks, client.find_tasks, client.dead):
        with pytest.raises(InvalidTask, match="priority must be between 1 and 10, got 11"):
            ask(priority=11)
        with pytest.raises(InvalidTask, match="'colour' is no filter of tasks"):
            ask(colour="red")  # type: ignore[call-arg]
        with pytest.raises(InvalidTask, match="queue must have 1 to 1000 values, got 0"):
            ask(queue=[])


def test_none_is_as_what_is_left_out(client: Client) -> None:
    made = client.schedule("mail")
    for found in (client.list_tasks(queue=None, enabled=None), client.find_tasks(queue=None, enabled=None).tasks):
        assert [task.id for task in found] == [made]


async def test_the_dead_letters_that_fit_are_retried_and_deleted_from_their_page(dsn: str) -> None:
    values = await asyncio.to_thread(the_dead, dsn)
    with Client(dsn) as client:
        async with web(dsn) as http:
            form = {"user_id": "ada", "name": "july"}
            asked = (await http.post("/dead/retry", data=form)).text
            assert "Retry 1 dead task?" in asked
            assert "user:ada" in asked
            assert (await http.post("/dead/retry", data=form | {"confirmed": "yes"})).status_code == 303
            await make_bulk_changes(dsn)
            assert client.get(values["ids"]).status == "pending"
            assert len(client.dead()) == 3
            form = {"created_before": "2029-06-01", "confirmed": "yes"}
            assert (await http.post("/dead/purge", data=form)).status_code == 303
            await make_bulk_changes(dsn)
            assert client.dead() == []
            wrong = await http.get("/dead", params={"priority": "many"})
            assert (wrong.status_code, "priority must be a whole number" in wrong.text) == (422, True)
