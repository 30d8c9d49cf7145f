"""What keeps a task waiting, and what a worker does, are found with few clicks; and what is in the way is put away."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.demonstration import Filled
from tests.browser.pages import Looks

Tour = Callable[..., Looks]


def test_why_is_it_waiting_takes_one_click_from_the_lists(demonstration: tuple[str, Filled], tour: Tour) -> None:
    page = tour()("/tasks?queue=imports&status=pending")
    page.locator("main th a").first.click()
    expect(page.get_by_role("heading", name="Why is it waiting?")).to_be_visible()
    expect(page.get_by_text("Queue imports is paused")).to_be_visible()
    expect(page.get_by_role("button", name="Resume queue imports")).to_be_visible()
    page.goto("/queues")
    page.get_by_role("link", name="Why is it waiting? imports").click()
    expect(page.get_by_text("Queue imports is paused")).to_be_visible()


def test_what_a_worker_does_takes_two_clicks_from_the_overview(demonstration: tuple[str, Filled], tour: Tour) -> None:
    page = tour()("/")
    page.get_by_role("navigation").get_by_role("link", name="Workers").click()
    page.locator("main th a").first.click()
    expect(page.get_by_role("heading", name="Running now")).to_be_visible()
    expect(page.get_by_role("button", name="Drain")).to_be_visible()
