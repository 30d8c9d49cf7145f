"""Pages that follow what happens, and times in the zone of whoever looks."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import Looks
from tests.support.tables import database, insert_task

HIDDEN = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => hidden ? 'hidden' : 'visible' });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
"""As when the tab is left or come back to: a browser without windows hides no page."""


def asks_of(page: Page) -> list[str]:
    """What a page asks the server for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def test_hidden_page_asks_nothing_until_it_is_looked_at_again(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, "first")
        hidden, seen = look("/tasks"), look("/tasks")
        for page in (hidden, seen):
            expect(page.locator("#pulse")).to_have_text("live")
        hidden.evaluate(HIDDEN, True)
        expect(hidden.locator("#pulse")).to_have_text("paused")
        hidden.evaluate("new Promise((done) => setTimeout(done))")  # what was under way has been asked
        asked = asks_of(hidden)
        insert_task(connection, "second")
        expect(seen.locator("[data-row]")).to_have_count(2)  # the control: a page that is seen shows it by itself
        assert asked == []
        expect(hidden.locator("[data-row]")).to_have_count(1)
        hidden.evaluate(HIDDEN, False)
        expect(hidden.locator("[data-row]")).to_have_count(2)
        assert asked[0].endswith("/live")


def test_page_whose_stream_was_refused_asks_again_and_catches_up(dsn: str, look: Looks) -> None:
    look.allow_refusals(503)
    look.context.route("**/live", lambda route: route.fulfill(status=503))
    page = look.context.new_page()
    page.clock.install()
    page.goto("/tasks")
    expect(page.locator("#pulse")).to_have_text("not reached")
    with database(dsn) as connection:
        insert_task(connection)
    look.context.unroute("**/live")
    page.clock.fast_forward(20_000)
    expect(page.locator("#pulse")).to_have_text("live")
    expect(page.locator("[data-row]")).to_have_count(1)


def test_part_with_a_selected_row_stays_as_it_is(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, "first")
        working, seen = look("/tasks"), look("/tasks")
        working.locator("[data-select]").check()
        insert_task(connection, "second")
        expect(seen.locator("[data-row]")).to_have_count(2)
        expect(working.locator("[data-row]")).to_have_count(1)
        expect(working.locator("[data-select]")).to_be_checked()


def test_opened_details_stay_open_while_the_page_follows(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        page.get_by_text("Copy as SQL").click()
        page.evaluate("document.activeElement.blur()")
        connection.execute("update pgsched.tasks set task_name = 'renamed' where id = %s", (made,))
        expect(page.locator(".lead")).to_have_text("renamed")
        expect(page.locator("details", has_text="Copy as SQL")).to_have_attribute("open", "")


def test_times_are_in_the_zone_of_the_viewer_and_utc_when_pointed_at(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, scheduled_for="2031-01-31 20:00:05+00")
    url = serve(dsn)
    with Looks(browser, url, timezone_id="Asia/Kolkata") as looks:
        page = looks(f"/tasks/{made}")
        tick = page.locator("time[datetime='2031-01-31T20:00:05.000Z']").first
        expect(tick).to_have_text("01/02/2031, 01:30:05")
        expect(tick).to_have_attribute("title", "2031-01-31 20:00:05 UTC")
        zone = re.compile("Times are shown in Asia/(Calcutta|Kolkata); point at one to see it in UTC.")
        expect(page.locator("footer")).to_have_text(zone)
    with Looks(browser, url, timezone_id="UTC") as looks:
        page = looks(f"/tasks/{made}")
        expect(page.locator("footer")).to_have_text("Times are shown in UTC.")


def test_chart_has_the_times_of_the_viewer(dsn: str, browser: Browser, serve: Callable[..., str]) -> None:
    url = serve(dsn)
    marks = "[...document.querySelectorAll('.chart [data-at]')].map((one) => [one.dataset.at, one.textContent])"
    with Looks(browser, url, timezone_id="Asia/Kolkata") as looks:
        shown = looks("/").evaluate(marks)
    assert len(shown) >= 5
    for at, text in shown:
        hours, minutes = int(at[11:13]), int(at[14:16])
        later = (hours * 60 + minutes + 330) % 1440
        assert text == f"{later // 60:02}:{later % 60:02}"
