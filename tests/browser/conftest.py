"""Fixtures of the tests in a browser; they need what `make test-browser` installs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pgsched.web.server import serving
from pgsched.web.settings import WebSettings
from tests.browser.demonstration import Filled, fill
from tests.support import servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.pages import Looks

if importlib.util.find_spec("playwright") is None:  # a plain `pytest` in the environment of `make test`
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the whole run."""
    from playwright.sync_api import expect

    from tests.browser.chromium import launched

    expect.set_options(timeout=60_000)
    with launched() as made:
        yield made


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve the dashboard: ``url = serve(dsn, viewer_token=…)``."""
    with ExitStack() as stack:
        yield lambda dsn, **settings: stack.enter_context(
            serving(dsn=dsn, settings=WebSettings(port=0, **settings))
        ).rstrip("/")


@pytest.fixture
def look(browser: Browser, serve: Callable[..., str], dsn: str) -> Iterator[Looks]:
    """Open pages of a dashboard on the test's database: ``page = look("/tasks")``. At the end none may have faults."""
    from tests.browser.pages import Looks

    with Looks(browser, serve(dsn)) as looks:
        yield looks


@pytest.fixture(scope="session")
def demonstration(server_dsn: str, template_database: str) -> Iterator[tuple[str, Filled]]:
    """The address of a dashboard on a filled database, which nobody changes."""
    name = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_demonstration"
    with servers.fresh_database(server_dsn, name, template=template_database) as dsn:
        filled = fill(dsn)
        with serving(dsn=dsn, settings=WebSettings(port=0)) as url:
            yield url.rstrip("/"), filled


@pytest.fixture
def tour(browser: Browser, demonstration: tuple[str, Filled]) -> Iterator[Callable[..., Any]]:
    """Pages of the demonstration: ``looks = tour(viewport=PHONE)``. At the end none may have faults."""
    from tests.browser.pages import Looks

    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Looks(browser, demonstration[0], **options))
