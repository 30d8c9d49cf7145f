"""The search of tasks in a browser: it goes on by itself, offers terms, and a change to many can be undone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from pgsched.web.services import search
from tests.browser.pages import Looks, submit
from tests.support.tables import database, insert_task, task_row


def test_a_search_goes_on_by_itself_until_all_was_looked_through(
    dsn: str, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_SCAN", 10)
    monkeypatch.setattr(search, "SECONDS", 0.0)
    with database(dsn) as connection:
        wanted = [insert_task(connection, tags=["rare"]) for _ in range(3)]
        for _ in range(45):
            insert_task(connection)
        wanted.append(insert_task(connection, tags=["rare"]))
    page = look("/tasks?q=tag:rare")
    expect(page.locator("[data-searched-to]")).to_have_text("All tasks were searched.")
    expect(page.locator("#live-tasks tbody tr")).to_have_count(4)
    assert [int(text) for text in page.locator("#live-tasks tbody th").all_inner_texts()] == wanted[::-1]
    page = look("/tasks?q=tag:none")
    expect(page.locator("#live-tasks > .empty")).to_contain_text("No matching tasks")


def test_the_last_term_of_a_search_has_suggestions(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, "bill", queue="night shift")
    page = look("/tasks")
    field = page.locator("#quick")
    field.focus()
    field.press_sequentially("type:bill night")
    offered = page.locator("#quick-terms option")
    expect(offered).to_have_count(1)
    assert offered.first.get_attribute("value") == 'type:bill queue:"night shift"'


def test_a_change_to_many_is_of_the_fields_as_they_are_and_can_be_undone(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made, other = insert_task(connection, queue="mail"), insert_task(connection, queue="other")
        page = look("/tasks?queue=other")
        page.locator("#f-queue").fill("mail")
        expect(page.locator("[data-unapplied]")).to_be_visible()
        submit(page, "Cancel…")
        expect(page.get_by_role("alert")).to_contain_text("The filter was changed after it was applied")
        submit(page, "Cancel 1 task")
        expect(page.locator("#f-queue")).to_have_value("mail")
        submit(page, "Undo")
        expect(page.locator(".strip")).to_contain_text("undone, nothing was changed")
        expect(page.locator("#f-queue")).to_have_value("mail")
        assert [task_row(connection, one)["status"] for one in (made, other)] == ["pending", "pending"]


def test_the_address_of_a_filter_has_what_was_filled_in_and_no_more(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, queue="mail")
    page = look("/tasks")
    page.locator("#f-q").fill("queue:mail")
    page.locator("#f-q").press("Enter")
    page.wait_for_url("**/tasks?q=queue%3Amail")
