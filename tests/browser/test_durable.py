"""A durable task in the browser: what it waits for is answered, and it goes on; a restart asks first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from pgsched import App, Client, DurableContext
from pgsched.testing import drain
from tests.browser.chromium import settled
from tests.browser.pages import Looks, submit
from tests.support.tables import database, task_row
from tests.support.waiting import wait_until


@pytest.fixture
def ran() -> list[str]:
    """The steps that ran."""
    return []


@pytest.fixture
def app(dsn: str, ran: list[str]) -> App:
    app = App(dsn=dsn, capture_logs=None)

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        for name in ("charge", "book"):
            await ctx.step(name, ran.append, name)
        answer = await ctx.wait_for("approved", timeout="2d")
        return "shipped" if answer["approved"] else f"stopped: {answer.get('comment')}"

    return app


@contextmanager
def working(app: App) -> Iterator[None]:
    """A worker beside the test, whose browser blocks its own thread."""
    ended = threading.Event()

    async def work() -> None:
        async with app.worker():
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=[work()])
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_until_idle(app: App) -> None:
    """Run what is due, in a thread of its own: playwright keeps an event loop in this one."""
    thread = threading.Thread(target=drain, args=[app])
    thread.start()
    thread.join()


def begin(app: App) -> int:
    """An order that waits for its approval."""
    with Client(app.dsn) as client:
        made = client.schedule("order")
    run_until_idle(app)
    return int(made)


def test_approval_lets_the_run_go_on_without_a_reload(dsn: str, app: App, look: Looks) -> None:
    made = begin(app)
    page = look(f"/tasks/{made}")
    expect(page.locator("h1 .badge")).to_have_text("blocked")
    submit(page, "Approve")
    expect(page.locator(".notice")).to_contain_text("was sent.")
    expect(page.locator(".answer")).to_have_count(0)
    page.evaluate("window.neverReloaded = true")
    with working(app):
        expect(page.locator("h1 .badge")).to_have_text("completed")
        expect(page.locator("main")).to_contain_text("shipped")
        expect(page.locator("#live-task")).to_contain_text("for approved")
    assert page.evaluate("window.neverReloaded") is True


def test_rejection_takes_its_comment_along_by_the_keyboard(dsn: str, app: App, look: Looks) -> None:
    made = begin(app)
    page = look(f"/tasks/{made}")
    page.get_by_label("Comment").focus()
    page.keyboard.type("too dear")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    with working(app):
        expect(page.locator("main")).to_contain_text("stopped: too dear")


def test_comment_that_is_being_written_outlives_changes_of_the_page(dsn: str, app: App, look: Looks) -> None:
    made = begin(app)
    page = look(f"/tasks/{made}")
    expect(page.locator("#pulse")).to_contain_text("Live")
    page.get_by_label("Comment").fill("half a sen")
    page.evaluate("document.activeElement.blur()")
    with Client(dsn) as client:
        client.emit(made, "note", "ring twice")
    expect(page.locator("#live-task")).to_contain_text("note")
    expect(page.get_by_label("Comment")).to_have_value("half a sen")


def test_event_of_any_json_is_sent_with_the_form(dsn: str, app: App, look: Looks) -> None:
    made = begin(app)
    look.allow_refusals(422)
    page = look(f"/tasks/{made}")
    with page.expect_navigation():
        page.get_by_role("link", name="Send other data…").click()
    expect(page.get_by_label("Name")).to_have_value("approved")
    page.get_by_label("Payload (any JSON value)").fill('{"approved": ')
    submit(page, "Send")
    expect(page.get_by_role("alert")).to_contain_text("payload must be JSON")
    page.get_by_label("Payload (any JSON value)").fill('{"approved": false, "comment": "no stock"}')
    submit(page, "Send")
    run_until_idle(app)
    with database(dsn) as connection:
        assert task_row(connection, made)["result"] == "stopped: no stock"


def test_restart_from_a_step_asks_and_runs_again_from_there(dsn: str, app: App, look: Looks, ran: list[str]) -> None:
    made = begin(app)
    page = look(f"/tasks/{made}")
    with page.expect_navigation():
        page.get_by_role("link", name="Restart here… at book").click()
    settled(page)
    expect(page.locator("h1")).to_contain_text("from book?")
    expect(page.locator("main dl")).to_contain_text("1: charge")
    with page.expect_navigation():
        page.get_by_role("link", name="Cancel").click()
    with database(dsn) as connection:
        assert task_row(connection, made)["status"] == "blocked"
        page.go_back()
        submit(page, "Restart")
        expect(page.locator(".notice")).to_have_text(f"Task {made} was restarted.")
        with working(app):
            wait_until(lambda: ran == ["charge", "book", "book"], message="book has run again, and charge has not")
            expect(page.locator(".run tbody tr[data-row]")).to_have_count(3)
            expect(page.locator(".answer")).to_have_count(1)  # it waits again
