"""Somebody at work in the dashboard, whose clicks are counted."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from tests.browser.chromium import settled


class Hand:
    """Does what a person does with a page: a click, a choice in a menu and a press on a key that sends count as one.

    What is typed into a field does not count, nor does the click that brings the cursor there.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        """Click what leads nowhere."""
        self.clicks += 1
        what.click()

    def follow(self, what: Locator) -> None:
        """Click a link or a button, and wait for the page that it leads to."""
        self.clicks += 1
        with self.page.expect_navigation():
            what.click()
        settled(self.page)

    def type(self, field: str, text: str) -> None:
        """Type into a field."""
        self.page.get_by_label(field, exact=True).fill(text)

    def search(self, query: str) -> None:
        """Type into the search field of the head, and press Enter."""
        self.clicks += 1
        field = self.page.locator("#quick")
        field.fill(query)
        with self.page.expect_navigation():
            field.press("Enter")
        settled(self.page)
