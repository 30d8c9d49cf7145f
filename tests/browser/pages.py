"""Pages as the tests open them: each must come without faults."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

from playwright.sync_api import Browser, Page

from tests.browser.chromium import context_of, settled

OPEN_ALL = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"
"""Opens what can be opened."""
WIDER_THAN_THE_WINDOW = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  const scrolls = (one) => one && (getComputedStyle(one).overflowX !== 'visible' || scrolls(one.parentElement));
  return [...document.body.querySelectorAll('*')]
    .filter((one) => one.getBoundingClientRect().right > wide + 1 && !scrolls(one.parentElement))
    .map((one) => `${one.tagName} ${one.className} ends at ${one.getBoundingClientRect().right}`)
    .concat(`the page is ${document.documentElement.scrollWidth} wide`);
}"""
"""What makes a page scroll sideways, as lines; none when it does not."""


class Looks:
    """A profile that opens pages of one dashboard. A context manager: at its end the pages must have had no faults."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self._browser = browser
        self._options = options
        self._stack = ExitStack()
        self._refusals: set[int] = set()
        self._forgiving = False
        self.url = url

    def __enter__(self) -> Self:
        self.context, self.faults = self._stack.enter_context(context_of(self._browser, self.url, **self._options))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None and not self._forgiving:
            faults = [one for one in self.faults.found if not any(f"status of {n} " in one for n in self._refusals)]
            assert not faults, "\n".join(faults)

    def __call__(self, path: str) -> Page:
        """Open a page in a tab of its own."""
        page = self.context.new_page()
        page.goto(path)
        return settled(page)

    def allow_refusals(self, *statuses: int) -> None:
        """Let requests be refused: Chromium writes a line on the console about most of them."""
        self._refusals |= set(statuses)

    def forgive(self) -> None:
        """Let the pages have faults: a test means them."""
        self._forgiving = True


def submit(page: Page, name: str, *, within: str = "main") -> None:
    """Press a button that leads to another page, and wait for that."""
    with page.expect_navigation():
        page.locator(within).get_by_role("button", name=name, exact=True).click()
    settled(page)
