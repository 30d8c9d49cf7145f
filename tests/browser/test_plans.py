"""What needs a browser of plans: the graph pans, zooms and folds; the form of a payload follows the type."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.chromium import settled
from tests.browser.pages import Looks, submit
from tests.support.tables import database, insert_task

SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "times": {"type": "integer", "default": 1}},
    "required": ["to"],
    "additionalProperties": False,
}


def workflow(dsn: str) -> int:
    """A task that waits for twenty of one kind, each of which waits for one."""
    with database(dsn) as connection:
        first = insert_task(connection, "split", task_name="split")
        parts = [insert_task(connection, "part", depends_on=[first]) for _ in range(20)]
        return insert_task(connection, "join", depends_on=parts)


def size(page: Page) -> float:
    return float(page.locator("svg.graph").get_attribute("width") or 0)


def test_graph_is_zoomed_by_buttons_and_keys_and_dragged(dsn: str, look: Looks) -> None:
    page = look(f"/workflows/{workflow(dsn)}?open=2")
    expect(page.locator(".graph .node")).to_have_count(22)
    before = size(page)
    page.get_by_role("button", name="Larger").click()
    assert size(page) > before
    frame = page.get_by_role("region", name="Graph")
    frame.focus()
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert size(page) < before
    page.get_by_role("button", name="Fit").click()
    assert size(page) <= before
    for _ in range(14):
        frame.press("+")
    box = frame.bounding_box()
    assert box is not None
    frame.evaluate("(one) => { one.scrollLeft = 200; one.scrollTop = 100; }")
    address = page.url
    page.mouse.move(box["x"] + 200, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 110, steps=5)
    page.mouse.up()
    assert frame.evaluate("(one) => [one.scrollLeft, one.scrollTop]") == [280, 140]
    assert page.url == address  # what was dragged was not opened


def test_box_of_tasks_that_are_alike_is_opened_and_folded(dsn: str, look: Looks) -> None:
    page = look(f"/workflows/{workflow(dsn)}")
    expect(page.locator(".graph a")).to_have_count(3)
    page.locator(".graph a", has_text="part × 20").click()
    expect(page.locator(".graph a")).to_have_count(22)
    page.get_by_role("link", name="Fold all").click()
    expect(page.locator(".graph a")).to_have_count(3)


def register(dsn: str) -> None:
    entry: dict[str, Any] = {"task_type": "mail", "payload_schema": SCHEMA}
    with database(dsn) as connection:
        connection.execute("select pgsched.register(%s)", (json.dumps([entry]),))


def test_choosing_a_type_shows_its_fields_and_makes_the_task(dsn: str, look: Looks) -> None:
    register(dsn)
    page = look("/schedules/new")
    page.get_by_label("Queue", exact=True).fill("slow")
    with page.expect_navigation():
        page.get_by_label("Type", exact=True).fill("mail")
        page.get_by_label("Queue", exact=True).focus()
    expect(page.get_by_label("Queue", exact=True)).to_have_value("slow")
    page.get_by_label("times", exact=True).fill("many")
    look.allow_refusals(422)
    submit(page, "Create")
    expect(page.get_by_label("to required", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("times must be a whole number, got 'many'")).to_be_visible()
    page.get_by_label("to required", exact=True).fill("ada")
    page.get_by_label("times", exact=True).fill("")
    page.get_by_label("to required", exact=True).press("Enter")
    expect(page.locator(".notice")).to_contain_text("was created")
    with database(dsn) as connection:
        (row,) = connection.execute("select payload, queue from pgsched.tasks").fetchall()
    assert row == {"payload": {"to": "ada"}, "queue": "slow"}


def test_next_24_hours_are_one_click_away_in_the_zone_of_the_viewer(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, "report", cron_expression="0 * * * *", task_name="hourly")
    page = look("/")
    with page.expect_navigation():
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Upcoming").click()
    settled(page)
    row = page.locator("[data-row]")
    expect(row).to_contain_text("hourly")
    expect(row.locator("rect")).to_have_count(24)
    title = row.locator("rect title").first
    assert "UTC" not in (title.text_content() or "UTC")
