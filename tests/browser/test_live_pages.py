"""Pages that follow what happens, and times in the zone of whoever looks."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from playwright.sync_api import Browser, Page, expect
from psycopg import sql

from pgsched.web.server import serving
from pgsched.web.settings import WebSettings
from tests.browser.chromium import settled
from tests.browser.pages import Looks
from tests.support.tables import database, insert_task, set_completed
from tests.support.web_face import VIEWER_TOKEN

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


def ids_of(page: Page) -> list[str]:
    return page.locator("[data-row] th a").all_inner_texts()


@contextmanager
def closed_to_all(server: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """A database that nobody gets into, as when it is down."""
    let_in = sql.SQL("alter database {} allow_connections {}")
    server.execute(let_in.format(sql.Identifier(name), sql.Literal(False)))
    try:
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        yield
    finally:
        server.execute(let_in.format(sql.Identifier(name), sql.Literal(True)))


def test_hidden_page_asks_nothing_until_it_is_looked_at_again(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, "first")
        hidden, seen = look("/tasks"), look("/tasks")
        for page in (hidden, seen):
            expect(page.locator("#pulse")).to_contain_text("Live")
        hidden.evaluate(HIDDEN, True)
        expect(hidden.locator("#pulse")).to_contain_text("Paused: in the background")
        hidden.evaluate("new Promise((done) => setTimeout(done))")  # what was under way has been asked
        asked = asks_of(hidden)
        insert_task(connection, "second")
        expect(seen.locator("[data-waiting]")).to_have_text("1 new task")  # the control: a page that is seen knows it
        assert asked == []
        expect(hidden.locator("[data-waiting]")).to_be_hidden()
        hidden.evaluate(HIDDEN, False)
        expect(hidden.locator("[data-waiting]")).to_have_text("1 new task")
        assert asked[0].endswith("/live")


def test_page_whose_stream_was_refused_asks_again_and_catches_up(dsn: str, look: Looks) -> None:
    look.allow_refusals(503)
    look.context.route("**/live", lambda route: route.fulfill(status=503))
    page = look.context.new_page()
    page.clock.install()
    page.goto("/tasks")
    expect(page.locator("#pulse")).to_contain_text("Disconnected")
    with database(dsn) as connection:
        insert_task(connection)
    look.context.unroute("**/live")
    page.clock.fast_forward(20_000)
    expect(page.locator("#pulse")).to_contain_text("Live")
    expect(page.locator("[data-row]")).to_have_count(1)


def test_new_rows_wait_behind_a_button_and_come_by_mouse_and_by_key(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        first = insert_task(connection, "first")
        page = look("/tasks")
        for name in ("second", "third"):
            insert_task(connection, name)
        expect(page.locator("[data-waiting]")).to_have_text("2 new tasks")
        expect(page.locator("[data-row]")).to_have_count(1)
        page.locator("[data-waiting]").click()
        expect(page.locator("[data-row]")).to_have_count(3)
        expect(page.locator("[data-waiting]")).to_be_hidden()
        expect(page.locator("[data-row]").last).to_contain_text(str(first))
        insert_task(connection, "fourth")
        expect(page.locator("[data-waiting]")).to_have_text("1 new task")
        page.keyboard.press("n")
        expect(page.locator("[data-row]")).to_have_count(4)


def test_rows_change_in_place_under_the_keyboard_and_a_selection(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = [insert_task(connection) for _ in range(3)]
        page = look("/tasks")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("x")
        set_completed(connection, made[1])
        connection.execute("delete from pgsched.tasks where id = %s", (made[2],))
        insert_task(connection)
        row = page.locator("tr.here")
        expect(row).to_contain_text("completed")
        expect(row).to_contain_text(str(made[1]))
        expect(row.locator("[data-select]")).to_be_checked()
        expect(page.locator("#pulse")).to_contain_text("Live")
        assert page.evaluate("document.activeElement.closest('tr') === document.querySelector('tr.here')")
        expect(page.locator("tr.gone")).to_have_count(1)
        assert ids_of(page) == [str(one) for one in reversed(made)]
        expect(page.get_by_role("button", name="1 new task")).to_be_visible()  # it may come a fetch later than the rest
        page.keyboard.press("n")
        expect(page.locator("tr.gone")).to_have_count(0)
        expect(page.get_by_label(f"Select task {made[1]}")).to_be_checked()
        expect(page.locator("[data-selected-count]")).to_have_text("1 selected")


def test_opened_section_keeps_the_focus_and_stays_open_while_the_page_follows(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        page.get_by_text("Copy as SQL").click()
        connection.execute("update pgsched.tasks set task_name = 'renamed' where id = %s", (made,))
        expect(page.locator(".lead")).to_have_text("renamed")
        expect(page.locator("details", has_text="Copy as SQL")).to_have_attribute("open", "")
        expect(page.locator("details", has_text="Copy as SQL").locator("summary")).to_be_focused()
        expect(page.locator("details", has_text="Copy as SQL").locator("pre")).to_contain_text("renamed")
        expect(page.locator("#pulse")).to_contain_text("Live")


def test_selected_text_pauses_the_page_which_says_so_and_goes_on(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        page.evaluate("getSelection().selectAllChildren(document.querySelector('#live-head h1'))")
        expect(page.locator("#pulse")).to_contain_text("Paused: text is selected")
        set_completed(connection, made)
        expect(page.locator("#pulse .age")).to_contain_text("s old")
        expect(page.locator("h1 .badge")).to_have_text("pending")
        # As on a phone, where a touch ends the selection before it is a click.
        page.evaluate("addEventListener('pointerup', () => getSelection().removeAllRanges(), { once: true })")
        page.locator("#pulse button").hover()
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("h1 .badge")).to_have_text("completed")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#pulse")).to_contain_text("Paused: by you")


def test_change_of_another_task_is_not_fetched_by_the_page_of_one(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made, other = insert_task(connection), insert_task(connection)
        page, control = look(f"/tasks/{made}"), look(f"/tasks/{other}")
        for one in (page, control):
            one.wait_for_timeout(2_500)  # what comes at the beginning is over
        asked = asks_of(page)
        for name in "abc":
            connection.execute("update pgsched.tasks set task_name = %s where id = %s", (name, other))
            expect(control.locator(".lead")).to_have_text(name)
        assert asked == []


def test_page_says_that_the_database_is_gone_and_comes_back(dsn: str, server_dsn: str, look: Looks) -> None:
    look.allow_refusals(503)
    with database(dsn) as connection:
        insert_task(connection)
        name = connection.info.dbname
    page = look("/tasks")
    expect(page.locator("#pulse")).to_contain_text("Live")
    with database(server_dsn) as server:
        with closed_to_all(server, name):
            expect(page.locator("#pulse")).to_contain_text("Disconnected: the database does not answer")
            ages = []
            for at_least in (2, 4):
                expect(page.locator("#pulse .age")).to_have_text(re.compile(f"^[{at_least}-9] s old|^[1-9][0-9] s old"))
                ages.append(page.locator("#pulse .age").inner_text())
            assert ages[0] != ages[1]
        expect(page.locator("#pulse")).to_contain_text("Live")
        expect(page.locator("#pulse .age")).to_have_text("")


def test_page_says_that_the_network_or_the_server_is_gone(dsn: str, browser: Browser) -> None:
    with serving(dsn=dsn, settings=WebSettings(port=0)) as url, Looks(browser, url.rstrip("/")) as looks:
        looks.forgive()  # Chromium writes a line about each connection that fails
        page = looks("/tasks")
        expect(page.locator("#pulse")).to_contain_text("Live")
        looks.context.set_offline(True)
        expect(page.locator("#pulse")).to_contain_text("Disconnected: the browser is offline")
        with database(dsn) as connection:
            insert_task(connection)
        looks.context.set_offline(False)
        expect(page.locator("[data-row]")).to_have_count(1)
        expect(page.locator("#pulse")).to_contain_text("Live")
        looks.context.route("**/live", lambda route: route.abort())
        page.reload()
        expect(page.locator("#pulse")).to_contain_text("Disconnected: the server does not answer")


def test_stream_that_is_silent_is_taken_for_lost(look: Looks) -> None:
    page = look.context.new_page()
    page.add_init_script(  # it is open, and nothing comes
        "window.EventSource = Object.assign(class extends EventTarget { readyState = 1; close() {} }, { OPEN: 1 })"
    )
    page.clock.install()
    page.goto("/tasks")
    expect(page.locator("#pulse")).to_contain_text("Live")
    page.clock.fast_forward(5_000)
    expect(page.locator("#pulse")).to_contain_text("Live")
    page.clock.fast_forward(8_000)
    expect(page.locator("#pulse")).to_contain_text("Disconnected: the server does not answer")


def test_no_aimed_click_goes_astray_while_tasks_pour_in(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        for _ in range(10):
            insert_task(connection)
        page = look("/tasks")
        pouring = threading.Event()

        def pour() -> None:
            with database(dsn) as other:
                while not pouring.wait(0.05):
                    insert_task(other)
                    other.execute(
                        "update pgsched.tasks set priority = 1 + (random() * 9)::integer, last_error = random()::text"
                        " where id in (select id from pgsched.tasks order by random() limit 5)"
                    )

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            expect(page.locator("[data-waiting]")).to_contain_text("new task")
            for at in range(6):
                link = page.locator("[data-row] th a").nth(at)
                aimed, box = link.inner_text(), link.bounding_box()
                assert box is not None
                page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                page.wait_for_timeout(400)
                page.mouse.down()
                page.wait_for_timeout(1_200)
                with page.expect_navigation():
                    page.mouse.up()
                assert page.url == f"{look.url}/tasks/{aimed}"
                page.go_back()
                settled(page)
        finally:
            pouring.set()
            thread.join()


def test_nothing_changes_while_the_button_of_the_mouse_is_down(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        page.wait_for_timeout(2_500)  # what comes at the beginning is over
        box = page.locator("#live-head").get_by_role("link", name="Edit").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        connection.execute("update pgsched.tasks set task_name = 'renamed' where id = %s", (made,))
        page.wait_for_timeout(4_000)
        expect(page.locator(".lead")).to_have_count(0)
        page.mouse.move(2, 500)
        page.mouse.up()
        expect(page.locator(".lead")).to_have_text("renamed")


def test_page_says_that_one_is_logged_out(dsn: str, browser: Browser, serve: Callable[..., str]) -> None:
    with database(dsn) as connection, Looks(browser, serve(dsn, viewer_token=VIEWER_TOKEN)) as looks:
        page = looks("/login")
        page.get_by_label("Token").fill(VIEWER_TOKEN)
        with page.expect_navigation():
            page.get_by_role("button", name="Log in").click()
        page.goto("/tasks")
        expect(page.locator("#pulse")).to_contain_text("Live")
        looks.context.clear_cookies()
        insert_task(connection)
        expect(page.locator("#pulse")).to_contain_text("Disconnected: you are logged out")


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
        zone = re.compile("Times are shown in Asia/(Calcutta|Kolkata); hover over a time to see it in UTC.")
        expect(page.locator("footer")).to_have_text(zone)
    with Looks(browser, url, timezone_id="UTC") as looks:
        page = looks(f"/tasks/{made}")
        expect(page.locator("footer")).to_have_text("Times are shown in UTC.")


def test_chart_has_the_times_of_the_viewer(dsn: str, browser: Browser, serve: Callable[..., str]) -> None:
    url = serve(dsn)
    marks = "[...document.querySelectorAll('.chart text[data-at]')].map((one) => [one.dataset.at, one.textContent])"
    with Looks(browser, url, timezone_id="Asia/Kolkata") as looks:
        shown = looks("/").evaluate(marks)
    assert len(shown) >= 5
    for at, text in shown:
        hours, minutes = int(at[11:13]), int(at[14:16])
        later = (hours * 60 + minutes + 330) % 1440
        assert text == f"{later // 60:02}:{later % 60:02}"
