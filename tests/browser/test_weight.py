"""What a page weighs: bytes and requests of a second visit, and what a tab asks for while much happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import settled
from tests.browser.demonstration import Filled
from tests.browser.pages import Looks
from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until

BYTES, REQUESTS = 60_000, 6
PARTS = 4
"""Of all pages: in one test they would take minutes, after all others have ended."""
SECONDS = 28.0
"""Four times the longest pause between two fetches of a page (static/live.js)."""
RATE = 0.2
OLDEST = 15
APP = """
from pgsched import App

app = App()

@app.task("busy")
async def busy():
    pass
"""


class Wire:
    """What a page sends for and gets over the wire: nothing of what the browser has kept."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Network.enable")
        self._urls: dict[str, str] = {}
        self._kept: set[str] = set()
        self.bytes = 0
        self._session.on("Network.requestWillBeSent", self._on_request)
        self._session.on("Network.requestServedFromCache", lambda event: self._kept.add(event["requestId"]))
        self._session.on("Network.responseReceived", self._on_response)
        self._session.on("Network.loadingFinished", self._on_end)

    def begin(self) -> None:
        """Forget what was before."""
        self._urls.clear()
        self._kept.clear()
        self.bytes = 0

    @property
    def requests(self) -> list[str]:
        """The addresses that the server was asked for."""
        return [url for id, url in self._urls.items() if id not in self._kept]

    def _on_request(self, event: dict[str, Any]) -> None:
        self._urls[event["requestId"]] = event["request"]["url"]

    def _on_response(self, event: dict[str, Any]) -> None:
        response = event["response"]
        if response.get("fromDiskCache") or response.get("fromPrefetchCache"):
            self._kept.add(event["requestId"])

    def _on_end(self, event: dict[str, Any]) -> None:
        self.bytes += event[
            "encodedDataLength"
        ]  # head and body, as they were sent; of a stream nothing, it does not end


@pytest.mark.parametrize("part", range(PARTS))
def test_second_visit_of_a_page_is_light(
    demonstration: tuple[str, Filled], tour: Callable[..., Looks], part: int
) -> None:
    page = tour()("/")
    wire = Wire(page)
    heavy = []
    for path in list(demonstration[1].paths().values())[part::PARTS]:
        for _ in range(2):
            wire.begin()
            page.goto(path)
            settled(page)
        page.wait_for_timeout(1_500)  # what follows by script belongs to it
        if wire.bytes >= BYTES or len(wire.requests) > REQUESTS:
            heavy.append(f"{path}: {wire.bytes} bytes, {len(wire.requests)} requests: {wire.requests}")
    assert heavy == []


@pytest.fixture
def busy(dsn: str, tmp_path: Path, run_pgsched: PgschedRunner) -> Any:
    """A database in which a worker runs hundreds of tasks a second."""
    (tmp_path / "busy_app.py").write_text(APP)
    over = threading.Event()

    def feed() -> None:
        with database(dsn) as connection:
            while not over.wait(0.5):
                (row,) = connection.execute(
                    "select count(*) as n from pgsched.tasks where status = 'pending'"
                ).fetchall()
                connection.execute(
                    "insert into pgsched.tasks (task_type) select 'busy' from generate_series(1, %s)",
                    (max(1_000 - row["n"], 0),),
                )

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with run_pgsched("worker", "--app", "busy_app:app"):
            yield
    finally:
        over.set()
        thread.join()


def test_tab_on_a_busy_system_asks_seldom_and_is_not_old(dsn: str, look: Looks, busy: None) -> None:
    count = "select count(*) as n from pgsched.tasks where status = 'completed'"
    with database(dsn) as connection:
        quiet = insert_task(connection, "nobody_has_this", queue="other")

        def completed() -> int:
            return int(connection.execute(count).fetchall()[0]["n"])

        wait_until(lambda: completed() > 1_000, message="the worker is busy")
        pages = {path: look(path) for path in ("/", "/tasks", "/executions", f"/tasks/{quiet}")}
        asked: dict[str, list[float]] = {path: [] for path in pages}
        for path, page in pages.items():
            page.wait_for_timeout(2_500)  # what comes at the beginning is over
            page.on("request", lambda _request, path=path: asked[path].append(time.monotonic()))
        for times in asked.values():
            times.clear()
        began, before = time.monotonic(), completed()
        while time.monotonic() < began + SECONDS:
            for page in pages.values():
                page.wait_for_timeout(500)
                expect(page.locator("#pulse")).to_contain_text("Live")
                age = page.locator("#pulse .age").inner_text().partition(" ")[0]
                assert int(age or 0) <= OLDEST
        passed = time.monotonic() - began
        assert (completed() - before) / passed > 100  # the control: it is busy
        for path, page in pages.items():
            assert len(asked[path]) / passed < RATE, path
            page.wait_for_timeout(1)
        assert asked[f"/tasks/{quiet}"] == []  # its task has not changed
        assert len(asked["/tasks"]) >= 2  # the control: what a page asks is counted
