"""Markup and scripts in every column that holds foreign text: shown as text, never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from pgsched.web import app as web_app
from pgsched.web.rendering import make_templates
from tests.browser.chromium import settled
from tests.browser.pages import OPEN_ALL, Looks
from tests.support.hostile import fill
from tests.support.tables import database
from tests.support.web_face import PAGES

CORPUS = (
    "\"><script>alert(1)</script><img src=x onerror='alert(2)'>",
    "</script></title></textarea></pre><svg onload=alert(3)><a href='javascript:alert(4)'>",
    "' onfocus=alert(5) autofocus x='${alert(6)}{{ 7*7 }}",
)


def paths_of(ids: list[int]) -> list[str]:
    """Every page that shows something of these tasks."""
    _once, schedule, _dead, waiting = ids
    return [*PAGES, *(f"/tasks/{one}" for one in ids), f"/tasks/{schedule}/edit", f"/workflows/{waiting}"]


@pytest.mark.parametrize("text", CORPUS)
def test_hostile_text_runs_on_no_page(dsn: str, look: Looks, text: str) -> None:
    with database(dsn) as connection:
        ids = fill(connection, text)
        connection.execute("insert into pgsched.queues (name, paused) values (%s, true)", (text,))
    page = look("/")
    for path in paths_of(ids):
        page.goto(path)
        settled(page)
        expect(page.locator("h1")).to_have_count(1)
        assert page.locator("[onerror], [onload], [onfocus], a[href^='javascript']").count() == 0, path
        page.evaluate(OPEN_ALL)
    page.goto(f"/tasks/{ids[0]}")
    expect(page.locator("pre", has_text=text.splitlines()[0][:12]).first).to_be_visible()
    assert look.faults.dialogs == []


@pytest.mark.parametrize("text", CORPUS)
def test_hostile_text_that_is_typed_runs_in_no_form(look: Looks, text: str) -> None:
    look.allow_refusals(422)
    page = look("/schedules/new")
    page.locator("[name=cron]").fill(text)
    expect(page.locator("#preview .problem")).to_contain_text(text[:12])
    page.locator("[name=task_type]").fill("mail")
    page.locator("[name=payload]").fill(text)
    with page.expect_navigation():
        page.get_by_role("button", name="Create").click()
    expect(page.locator("[name=payload]")).to_have_value(text)
    page.goto("/tasks")
    settled(page)
    page.get_by_label("Name contains").fill(text)
    with page.expect_navigation():
        page.get_by_role("button", name="Filter").click()
    expect(page.get_by_label("Name contains")).to_have_value(text)
    assert look.faults.dialogs == []


def test_without_escaping_the_policy_stops_scripts_and_without_both_they_run(
    dsn: str, browser: Browser, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the look for dialogs and for what the policy stopped."""

    def unescaped() -> Any:
        made = make_templates()
        made.env.autoescape = False
        return made

    with database(dsn) as connection:
        fill(connection, CORPUS[0])
    monkeypatch.setattr(web_app, "make_templates", unescaped)
    url = serve(dsn)
    with Looks(browser, url) as looks:
        looks.forgive()
        looks("/tasks")
        assert looks.faults.dialogs == []
        assert any("policy script-src" in one for one in looks.faults.found)
    with Looks(browser, url, bypass_csp=True) as looks:
        looks.forgive()
        looks("/tasks")
        assert "1" in looks.faults.dialogs
