"""Viewers and operators, as they log in with a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import Looks, submit
from tests.support.tables import database, insert_task, set_dead, task_row
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN

CHANGES = ("/tasks/{id}/cancel", "/tasks/{id}/edit", "/tasks/bulk", "/queues/pause", "/dead/purge", "/schedules/new")


@pytest.fixture
def protected(browser: Browser, serve: Callable[..., str], dsn: str) -> Iterator[Looks]:
    with Looks(browser, serve(dsn, viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN)) as looks:
        yield looks


def log_in(looks: Looks, token: str) -> Page:
    page = looks("/login")
    page.get_by_label("Token").fill(token)
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()
    return page


def post(page: Page, path: str) -> int:
    """What the server answers to a form that the page does not have."""
    status = page.evaluate(
        "(path) => fetch(path, { method: 'POST', body: new URLSearchParams({ queue: 'mail' }) }).then((a) => a.status)",
        path,
    )
    assert isinstance(status, int)
    return status


def test_viewer_sees_no_button_that_changes_something_and_is_refused_without_one(dsn: str, protected: Looks) -> None:
    with database(dsn) as connection:
        made, dead = insert_task(connection, queue="mail"), insert_task(connection, cron_expression="0 8 * * *")
        set_dead(connection, insert_task(connection))
        protected.allow_refusals(403)
        page = log_in(protected, VIEWER_TOKEN)
        for path in ("/", "/tasks", f"/tasks/{made}", f"/tasks/{dead}", "/schedules", "/queues", "/dead", "/workflows"):
            shown = protected(path)
            expect(shown.locator("h1")).to_be_visible()
            assert shown.locator("main form[method=post], main a[href$='/edit'], main a[href$='/new']").count() == 0
            assert shown.locator("main [data-select]").count() == 0
            shown.close()
        for path in CHANGES:
            assert post(page, path.format(id=made)) == 403, path
        assert task_row(connection, made)["status"] == "pending"
        assert connection.execute("select from pgsched.queues where paused").fetchall() == []


def test_operator_has_the_buttons_and_they_work(dsn: str, protected: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection, queue="mail")
        log_in(protected, OPERATOR_TOKEN)
        page = protected(f"/tasks/{made}")
        assert page.locator("main form[method=post]").count() > 0
        assert post(page, "/queues/pause") == 200
        submit(page, "Cancel")
        expect(page.locator("h1 .badge")).to_have_text("cancelled")
        assert task_row(connection, made)["status"] == "cancelled"


def test_wrong_token_is_refused_with_one_line(protected: Looks) -> None:
    protected.allow_refusals(401)
    page = log_in(protected, "not-one-of-the-tokens")
    expect(page.get_by_role("alert")).to_have_count(1)
    said = page.get_by_role("alert").inner_text()
    assert "token" in said
    assert "\n" not in said
    page.goto("/tasks")
    assert page.url.startswith(f"{protected.url}/login")


def test_log_out_ends_the_session(protected: Looks) -> None:
    page = log_in(protected, VIEWER_TOKEN)
    with page.expect_navigation():
        page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto("/")
    assert page.url.startswith(f"{protected.url}/login")
