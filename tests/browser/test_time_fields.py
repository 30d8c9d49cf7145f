"""Fields for times: each names its zone, and what is typed there is what happens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import Looks, submit
from tests.support.tables import database, insert_task, task_row

BERLIN = {"timezone_id": "Europe/Berlin"}


def hint_of(page: Page, label: str) -> str:
    field = page.get_by_label(label, exact=True)
    return page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text()


def test_schedule_that_begins_at_eight_in_berlin_begins_at_eight_in_berlin(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with Looks(browser, serve(dsn), **BERLIN) as looks:
        page = looks("/schedules/new")
        assert hint_of(page, "Not before") == "In UTC."
        page.get_by_label("Time zone", exact=True).fill("Europe/Berlin")
        assert hint_of(page, "Not before") == "In Europe/Berlin."
        page.get_by_label("Type", exact=True).fill("report")
        page.get_by_label("Cron expression", exact=True).fill("0 8 * * *")
        page.get_by_label("Not before", exact=True).fill("2031-06-10T08:00")
        page.get_by_label("Not after", exact=True).fill("2031-10-26T02:30")
        expect(page.locator("#preview li").first).to_contain_text("Tue 2031-06-10 08:00:00 Europe/Berlin")
        expect(page.locator("#preview")).to_contain_text("Not after 2031-10-26T02:30: this time occurs twice")
        submit(page, "Create")
        with database(dsn) as connection:
            (row,) = connection.execute("select id, start_date, end_date from pgsched.tasks").fetchall()
            assert row["start_date"] == datetime(2031, 6, 10, 6, tzinfo=UTC)
            assert row["end_date"] == datetime(2031, 10, 26, 0, 30, tzinfo=UTC)
            page.goto(f"/tasks/{row['id']}/edit")
            expect(page.get_by_label("Not before", exact=True)).to_have_value("2031-06-10T08:00")
            page.get_by_label("Time zone", exact=True).fill("Asia/Tokyo")
            submit(page, "Save")
            changed = task_row(connection, row["id"])
            assert changed["start_date"] == datetime(2031, 6, 9, 23, tzinfo=UTC)  # as the field said
            assert changed["timezone"] == "Asia/Tokyo"


def test_task_that_runs_once_is_edited_in_the_zone_of_the_viewer(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with database(dsn) as connection, Looks(browser, serve(dsn), **BERLIN) as looks:
        made = insert_task(connection, scheduled_for="2031-01-31 20:00:05.123456+00")
        page = looks(f"/tasks/{made}/edit")
        field = page.get_by_label("Scheduled for", exact=True)
        expect(field).to_have_value("2031-01-31T21:00:05")
        assert hint_of(page, "Scheduled for").startswith("In Europe/Berlin.")
        page.get_by_label("Name", exact=True).fill("later")
        submit(page, "Save")
        kept = task_row(connection, made)
        assert kept["task_name"] == "later"
        assert kept["scheduled_for"] == datetime(
            2031, 1, 31, 20, 0, 5, 123456, tzinfo=UTC
        )  # untouched, to the microsecond
        page.goto(f"/tasks/{made}/edit")
        field.fill("2031-07-01T08:00")
        submit(page, "Save")
        assert task_row(connection, made)["scheduled_for"] == datetime(2031, 7, 1, 6, tzinfo=UTC)


def test_time_that_the_clocks_skip_is_refused_and_one_that_comes_twice_is_explained(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with Looks(browser, serve(dsn), **BERLIN) as looks:
        page = looks("/schedules/new")
        field = page.get_by_label("Scheduled for", exact=True)
        field.fill("2031-03-30T02:30")
        assert field.evaluate("(one) => one.validationMessage") == (
            "This time does not exist in Europe/Berlin: the clocks skip it."
        )
        assert "where the clocks skip this time" in hint_of(page, "Scheduled for")
        field.fill("2031-10-26T02:30")
        assert field.evaluate("(one) => one.validationMessage") == ""
        assert "occurs twice: the first is used, 00:30 UTC" in hint_of(page, "Scheduled for")
        page.get_by_label("Time zone", exact=True).fill("Europe/Berlin")
        page.get_by_label("Cron expression", exact=True).fill("0 8 * * *")
        page.get_by_label("Not before", exact=True).fill("2031-03-30T02:30")
        expect(page.locator("#preview .problem")).to_contain_text(
            "start must exist in Europe/Berlin, where the clocks skip it"
        )


def test_filter_of_times_is_sent_as_exact_times(dsn: str, browser: Browser, serve: Callable[..., str]) -> None:
    with database(dsn) as connection, Looks(browser, serve(dsn), **BERLIN) as looks:
        early, late = (
            insert_task(connection, scheduled_for=f"2031-06-10 0{hour}:30+00", created_at=f"2026-06-10 0{hour}:30+00")
            for hour in (5, 6)
        )
        page = looks("/tasks")
        page.get_by_text("More filters").click()
        page.get_by_label("Created from", exact=True).fill("2026-06-10T08:00")
        submit(page, "Filter")
        assert "created_after=2026-06-10T06%3A00%3A00.000Z" in page.url
        expect(page.locator("[data-row]")).to_have_count(1)
        expect(page.locator("[data-row]")).to_contain_text(str(late))
        expect(page.get_by_label("Created from", exact=True)).to_have_value("2026-06-10T08:00")
        assert early != late


def test_fields_are_in_utc_without_scripts(dsn: str, look: Looks, browser: Browser) -> None:
    options: dict[str, Any] = {"java_script_enabled": False, "base_url": look.url, **BERLIN}
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.goto("/schedules/new")
        assert hint_of(page, "Scheduled for").startswith("In UTC.")
        page.get_by_label("Type", exact=True).fill("report")
        page.get_by_label("Scheduled for", exact=True).fill("2031-07-01T08:00")
        page.get_by_role("button", name="Create").click()
        expect(page.locator(".notice")).to_contain_text("was created")
    finally:
        context.close()
    with database(dsn) as connection:
        (row,) = connection.execute("select scheduled_for from pgsched.tasks").fetchall()
    assert row["scheduled_for"] == datetime(2031, 7, 1, 8, tzinfo=UTC)


def test_rows_say_how_long_ago_and_the_exact_time_to_pointer_and_keyboard(
    dsn: str, browser: Browser, serve: Callable[..., str]
) -> None:
    with database(dsn) as connection, Looks(browser, serve(dsn), **BERLIN) as looks:
        insert_task(connection)
        connection.execute("update pgsched.tasks set next_run_at = now() - interval '3 minutes 10 seconds'")
        page = looks("/tasks")
        shown = page.locator("[data-row] time")
        expect(shown).to_have_text("3 min ago")
        title = shown.get_attribute("title")
        assert title is not None
        assert title.endswith(" UTC")
        content = "getComputedStyle(document.querySelector('[data-row] time'), '::after').content"
        assert page.evaluate(content) == "none"
        page.keyboard.press("j")
        assert page.evaluate(content).strip('"') == title.split(" = ")[0]


def test_chart_says_the_time_of_the_viewer(demonstration: tuple[str, Any], tour: Callable[..., Looks]) -> None:
    page = tour(timezone_id="Asia/Kolkata")("/")
    for title in page.evaluate("[...document.querySelectorAll('.chart title')].map((one) => one.textContent)"):
        assert "UTC" not in title
    first = page.locator(".chart title").first
    at = first.get_attribute("data-at")
    assert at is not None
    later = (int(at[11:13]) * 60 + int(at[14:16]) + 330) % 1440
    assert (first.text_content() or "").startswith(f"{later // 60:02}:{later % 60:02}: ")
