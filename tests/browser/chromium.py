"""Chromium, led by playwright; and what a page does that none of ours should do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


def chromium_path() -> str:
    """The browser of this machine: PGSCHED_TEST_CHROMIUM, else the first that is installed."""
    given = os.environ.get("PGSCHED_TEST_CHROMIUM")
    for name in (given,) if given else NAMES:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(f"no {given or ' or '.join(NAMES)} is installed: `make test-browser` installs chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a window."""
    # No sandbox: as root Chromium has none, and it sees only our own pages. /dev/shm is small in containers.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Faults:
    """What went wrong in the pages of a context, as lines."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self._origin = urlsplit(origin)[:2]
        self.found: list[str] = []
        """Errors of scripts, words on the console, what the security policy stopped, foreign requests."""
        self.asked: list[str] = []
        """The path of each request."""
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => {"
            " console.error(`policy ${event.effectiveDirective} stopped ${event.blockedURI}`); });"
        )
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.found.append(f"script: {error.error}"))
        context.on("request", self._on_request)
        context.on("dialog", self._on_dialog)
        self.dialogs: list[str] = []
        """What dialogs said."""
        self.answer = True
        """How they are answered."""

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.found.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        self.asked.append(urlsplit(request.url).path)
        if urlsplit(request.url)[:2] != self._origin:
            self.found.append(f"request elsewhere: {request.method} {request.url}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        if self.answer:
            dialog.accept()
        else:
            dialog.dismiss()


@contextmanager
def context_of(browser: Browser, origin: str, **options: Any) -> Iterator[tuple[BrowserContext, Faults]]:
    """A fresh profile for the pages of one origin; desktop, light, in UTC unless said otherwise."""
    settings: dict[str, Any] = {"viewport": DESKTOP, "timezone_id": "UTC", "locale": "en-GB", "color_scheme": "light"}
    context = browser.new_context(base_url=origin, **(settings | options))
    context.set_default_timeout(60_000)
    context.set_default_navigation_timeout(60_000)
    faults = Faults(context, origin)
    try:
        yield context, faults
    finally:
        context.close()


def settled(page: Page) -> Page:
    """The page, when its scripts have run."""
    page.wait_for_function("document.readyState === 'complete'")
    if page.locator("#theme").count():
        page.locator("#theme:not([hidden])").wait_for(state="attached")
    return page
