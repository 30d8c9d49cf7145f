"""The form of a schedule: what it will do is shown while it is typed."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.pages import Looks, submit
from tests.support.tables import database

NIGHTLY = {
    "Type": "report",
    "Cron expression": "30 2 * * *",
    "Time zone": "Europe/Berlin",
    "Not before": "2027-03-26T12:00",
}
"""Its second tick falls into the hour that the clocks skip."""


def fill_in(page: Page, fields: dict[str, str]) -> None:
    for label, text in fields.items():
        page.get_by_label(label, exact=True).fill(text)


def test_next_runs_are_shown_while_typing_and_the_saved_schedule_is_in_the_list(dsn: str, look: Looks) -> None:
    page = look("/schedules/new")
    expect(page.locator("#preview")).to_contain_text("once")
    fill_in(page, NIGHTLY)
    runs = page.locator("#preview li")
    expect(runs).to_have_count(5)
    expect(runs.nth(0)).to_contain_text("Sat 2027-03-27 02:30:00 Europe/Berlin")
    expect(runs.nth(1)).to_contain_text("Sun 2027-03-28 03:00:00 Europe/Berlin")
    expect(page.locator("#preview .badge")).to_have_text(["the clocks have just gone forward from 02:00 to 03:00"])
    expect(page.locator("#preview")).to_contain_text("every day at 02:30, Europe/Berlin time")
    submit(page, "Create")
    expect(page.locator(".notice")).to_contain_text("was created")
    page = look("/schedules")
    expect(page.locator("[data-row]")).to_contain_text("30 2 * * *")
    expect(page.locator("[data-row]")).to_contain_text("Europe/Berlin")
    with database(dsn) as connection:
        (row,) = connection.execute("select task_type, cron_expression, timezone from pgsched.tasks").fetchall()
    assert row == {"task_type": "report", "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin"}


def test_preview_follows_a_correction(look: Looks) -> None:
    page = look("/schedules/new")
    fill_in(page, {"Every": "15m"})
    expect(page.locator("#preview")).to_contain_text("every 15 minutes")
    fill_in(page, {"Every": "2h", "Number of runs": "3"})
    expect(page.locator("#preview")).to_contain_text("every 2 hours")
    expect(page.locator("#preview li")).to_have_count(3)


def test_expression_that_is_wrong_gets_one_line_and_the_form_stays(dsn: str, look: Looks) -> None:
    page = look("/schedules/new")
    fill_in(page, NIGHTLY | {"Cron expression": "0 8 * *", "Name": "mine"})
    problem = page.locator("#preview .problem")
    expect(problem).to_have_count(1)
    expect(problem).to_have_text(re.compile(r'cron expression "0 8 \* \*": must have 5 fields .*, got 4$'))
    assert "\n" not in problem.inner_text().strip()
    look.allow_refusals(422)
    submit(page, "Create")
    expect(page.get_by_role("alert")).to_contain_text("5 fields")
    expect(page.get_by_label("Name", exact=True)).to_have_value("mine")
    expect(page.get_by_label("Cron expression", exact=True)).to_have_value("0 8 * *")
    fill_in(page, {"Cron expression": "0 8 * * *"})
    expect(page.locator("#preview li")).to_have_count(5)
    submit(page, "Create")
    expect(page.locator(".notice")).to_contain_text("was created")
    with database(dsn) as connection:
        (row,) = connection.execute("select task_name from pgsched.tasks").fetchall()
    assert row["task_name"] == "mine"
