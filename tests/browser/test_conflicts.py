"""Two people with the form of one task open: what was typed stays, and the choice is saved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from playwright.sync_api import Browser, Page, expect
from psycopg.types.json import Jsonb

from pgsched.client.client import Client
from tests.browser.pages import WIDER_THAN_THE_WINDOW, Looks, submit
from tests.browser.test_all_pages import violations
from tests.support.tables import database, insert_task, task_row

BERLIN = {"timezone_id": "Europe/Berlin"}
PHONE = {"viewport": {"width": 390, "height": 844}}


def accessible(page: Page) -> None:
    """Axe has nothing against the page, in either palette, and it fits the window."""
    for palette in ("light", "dark"):
        page.emulate_media(color_scheme=palette)
        assert violations(page) == []
    assert page.evaluate(WIDER_THAN_THE_WINDOW) == []


def test_save_over_a_change_of_somebody_else_asks_field_by_field(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with (
        Client(dsn) as somebody,
        database(dsn) as connection,
        Looks(browser, serve(dsn), bypass_csp=True, **BERLIN, **PHONE) as looks,
    ):
        looks.allow_refusals(409)
        # Its time has microseconds, which its field has not, and is shown in another zone: nobody changes it.
        at = "2040-01-01T08:00:00.123456+00:00"
        made = insert_task(connection, payload=Jsonb({"to": "ada", "n": 1}), scheduled_for=at)
        page = looks(f"/tasks/{made}/edit")
        somebody.update(
            made, {"to": "bob", "n": 1}, priority=9, tags=["theirs"], at=datetime(2040, 1, 2, 8, tzinfo=UTC)
        )
        page.get_by_label("Priority", exact=True).fill("1")
        page.get_by_label("Payload (a JSON object)").fill('{\n  "n": 1,\n  "to": "eve"\n}')
        page.get_by_label("Name", exact=True).fill("mine")
        submit(page, "Save")
        expect(page.get_by_role("group", name="Changed by somebody else")).to_be_visible()
        expect(page.locator(".versus")).to_have_count(2)
        expect(page.get_by_label("Name", exact=True)).to_have_value("mine")
        expect(page.get_by_label("Tags", exact=True)).to_have_value("theirs")
        expect(page.locator(".diff-theirs")).to_contain_text('"to": "bob"')
        expect(page.locator(".diff-yours")).to_contain_text('"to": "eve"')
        accessible(page)
        page.get_by_role("radiogroup", name="Priority").get_by_label("Theirs").check()
        submit(page, "Save")
        expect(page.locator(".notice")).to_be_visible()
        row = task_row(connection, made)
        assert (row["priority"], row["payload"], row["task_name"]) == (9, {"to": "eve", "n": 1}, "mine")
        assert (row["tags"], row["scheduled_for"].day) == (["theirs"], 2)
