"""Markup and scripts in every column that holds foreign text: shown as text, never run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from pgsched.web import app as web_app
from pgsched.web.rendering import make_templates
from tests.browser.chromium import DESKTOP, PHONE, settled
from tests.browser.pages import OPEN_ALL, WIDER_THAN_THE_WINDOW, Looks
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


LONG, NAME = "W" * 3000, "W" * 100
"""A text where any length may stand, and the longest name of a queue."""
SIZES = {"phone": (PHONE, 420), "tablet": ({"width": 1024, "height": 768}, 330), "desktop": (DESKTOP, 330)}
"""The window, and how many pixels each row of a page may take at the most, whatever is in it."""
FORM, LIST = 6_000, 3_500
"""Pixels at the most: of a page without rows, which is a form, and of a page beside its rows."""


def fill_with_long_texts(dsn: str) -> list[int]:
    """Rows with the longest texts that the database takes."""
    with database(dsn) as connection:
        ids = fill(connection, NAME)
        connection.execute(
            "update pgsched.tasks set task_name = %s, tags = array[%s], tenant_id = %s, user_id = %s, created_by = %s,"
            " last_error = %s",
            (LONG,) * 6,
        )
        connection.execute("update pgsched.executions set error = %s", (LONG,))
        connection.execute(
            "update pgsched.workers set hostname = %s, queues = array[%s], task_types = %s", (LONG, LONG, [LONG])
        )
        connection.execute("insert into pgsched.queues (name, paused) values (%s, true)", (NAME[1:],))
        known = {"task_type": NAME, "version": NAME, "description": LONG, "defaults": {"queue": NAME}}
        connection.execute("select pgsched.register(%s)", (json.dumps([known]),))
        connection.execute(
            "insert into pgsched.audit_log (actor, role, remote, action, task_id, queue, target, before, after) values"
            " (%s, 'operator', %s, %s, %s, %s, %s, jsonb_build_object('a', %s::text), jsonb_build_object('a', 1))",
            (LONG, LONG, NAME, ids[0], NAME, LONG, LONG),
        )
    return ids


def test_long_texts_make_no_page_wider_or_much_taller(dsn: str, browser: Browser, serve: Callable[..., str]) -> None:
    ids = fill_with_long_texts(dsn)
    url = serve(dsn)
    found = []
    for name, (viewport, most) in SIZES.items():
        with Looks(browser, url, viewport=viewport) as looks:
            looks.allow_refusals(422)  # of a queue whose name is too long
            page = looks("/")
            for path in [
                *paths_of(ids),
                "/doctor",
                f"/tasks?queue={LONG}",
                f"/handlers/type?name={NAME}",
                f"/queues/settings?queue={NAME}",
            ]:
                page.goto(path)
                settled(page)
                found += [f"{name} {path[:60]}: {one}" for one in page.evaluate(WIDER_THAN_THE_WINDOW)]
                high, rows = page.evaluate("[document.body.scrollHeight, document.querySelectorAll('tr').length]")
                if high > (LIST + most * rows if rows else FORM):
                    found.append(f"{name} {path[:60]}: {high} pixels high with {rows} rows")
    assert not found, "\n".join(one[:160] for one in found)
