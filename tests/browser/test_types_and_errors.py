"""Types and errors in a browser: clicks that an on-call engineer needs, axe, and the width of a phone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Browser, expect

from tests.browser.chromium import DESKTOP, PHONE, settled
from tests.browser.pages import OPEN_ALL, WIDER_THAN_THE_WINDOW, Looks
from tests.browser.test_all_pages import violations
from tests.support.roll_ups import add_attempts, count_all
from tests.support.tables import database
from tests.support.waiting import wait_until

LONG = "x" * 200
PATHS = ("/types", "/types/type?name=mail&within=24h", f"/types/type?name={LONG}", "/errors")


def fill(dsn: str) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=20)
    with database(dsn) as db:
        db.execute('select pgsched.register(\'[{"task_type": "mail", "version": "2026.2"}]\')')
        add_attempts(db, 20, ended=ended)
        add_attempts(db, 5, ended=ended, status="failed", error=f"ValueError: order 7 {LONG * 9}", task_id=90)
        add_attempts(db, 2, ended=ended, task_type="report", queue="slow", run=30)
        add_attempts(db, ended=ended, task_type=LONG, queue=LONG)
    with ThreadPoolExecutor(1) as thread:  # this one has Playwright's event loop
        thread.submit(lambda: asyncio.run(count_all(dsn))).result()


def test_the_slowest_type_is_two_clicks_away_and_failures_one(look: Looks, dsn: str) -> None:
    fill(dsn)
    page = look("/")
    page.get_by_role("link", name="Types", exact=True).click()
    page.get_by_role("link", name="Run p95").click()
    wait_until(lambda: "sort=run" in page.url, message="the slowest comes first")
    expect(page.locator("tbody th").first).to_have_text("report")
    page.goto("/")
    page.get_by_role("link", name="Errors", exact=True).click()
    expect(page.locator("tbody tr").first).to_contain_text("ValueError")
    expect(page.locator("tbody tr").first).to_contain_text("5")


def test_types_and_errors_shut_nobody_out(browser: Browser, serve: Callable[..., str], dsn: str) -> None:
    fill(dsn)
    url = serve(dsn)
    found: list[str] = []
    for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
        with Looks(browser, url, bypass_csp=True, color_scheme=scheme, viewport=size) as looks:
            page = looks("/")
            for path in PATHS:
                page.goto(path)
                settled(page)
                page.evaluate(OPEN_ALL)
                found += [f"{path[:60]}: {one}" for one in violations(page)]
                found += page.evaluate(WIDER_THAN_THE_WINDOW)
    assert found == []
