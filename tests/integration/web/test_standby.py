"""The web face on a hot standby: it shows what there is to read, says what is not, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from chaos.faults.own_server import OwnServer
from chaos.faults.standby import Standby
from pgsched.client.client import Client
from pgsched.db.migrations.runner import migrate
from pgsched.domain.workflow import group, step
from tests.support.commands import pgsched
from tests.support.tables import add_worker, database
from tests.support.waiting import wait_until
from tests.support.web_face import web

pytestmark = pytest.mark.slow

PAGES = (
    "/",
    "/tasks",
    "/schedules",
    "/dead",
    "/executions",
    "/queues",
    "/workers",
    "/handlers",
    "/workflows",
    "/audit",
    "/readyz",
)
LISTS = ("tasks", "dead", "executions", "queues", "workers", "stats", "audit")
UNKNOWN = "This is a standby: it is read-only, and workers are known only on the primary."


class _Pair(NamedTuple):
    primary: OwnServer
    standby: Standby
    tasks: list[int]


@pytest.fixture(scope="module")
def pair() -> Iterator[_Pair]:
    with OwnServer({"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        migrate(primary.dsn)
        with Client(primary.dsn) as client, database(primary.dsn) as connection:
            tasks = [client.schedule("mail"), client.schedule_group(group(step("mail")))]
            client.schedule("report", cron="0 8 * * *")
            add_worker(connection, queues=["default"], task_types=["mail"])
        standby = Standby(primary)
        try:
            standby.follow()
            yield _Pair(primary, standby, tasks)
        finally:
            standby.close()


async def _shows(http: httpx.AsyncClient, path: str) -> str:
    answer = await http.get(path)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return answer.text


async def test_every_page_is_shown_and_changes_are_refused_until_it_is_the_primary(pair: _Pair) -> None:
    first, flow = pair.tasks
    async with web(pair.primary.dsn) as http:
        assert UNKNOWN not in await _shows(http, "/")
        assert "Online" in await _shows(http, "/workers")
    async with web(pair.standby.dsn) as http:
        for path in (*PAGES, f"/tasks/{first}", f"/workflows/{flow}"):
            await _shows(http, path)
        for name in LISTS:
            await _shows(http, f"/api/v1/{name}")
        front = await _shows(http, "/")
        assert UNKNOWN in front
        assert "no living worker" not in front
        assert "no worker is alive" not in front
        assert "workers are known only on the primary" in await _shows(http, "/workers")
        for path, body in (("/api/v1/tasks", {"task_type": "mail"}), (f"/api/v1/tasks/{first}/cancel", {})):
            refused = await http.post(path, json=body)
            assert refused.status_code == 503
            assert "the database takes no changes, it is a standby or read-only" in refused.json()["detail"]
        measuring = pgsched("bench", dsn=pair.standby.dsn)
        assert (measuring.code, "is a standby, which accepts no tasks" in measuring.stderr) == (1, True), measuring
        # Its connections stay when it becomes the primary, and know it.
        pair.standby.promote()

        def knows_it() -> bool:
            with database(pair.standby.dsn) as connection:
                return connection.info.parameter_status("in_hot_standby") == "off"

        wait_until(knows_it, message="the server says that it is the primary")
        await _shows(http, "/tasks")
        added = await http.post("/api/v1/tasks", json={"task_type": "mail"})
        assert added.status_code == 201, added.text
        assert "workers are known only on the primary" not in await _shows(http, "/workers")
