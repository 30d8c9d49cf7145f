"""What people change in the dashboard, from the click to the row."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.browser.chromium import settled
from tests.browser.pages import Looks, submit
from tests.support.bulk import let_begin
from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task, set_dead, task_row

HANDLERS = """
from pgsched import App

app = App()


@app.task("greet")
async def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


def test_task_made_with_the_form_is_seen_to_complete_without_a_reload(
    dsn: str, look: Looks, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    page = look("/schedules/new")
    page.get_by_label("Type", exact=True).fill("greet")
    page.get_by_label("Payload (a JSON object)").fill('{"name": "Ada"}')
    submit(page, "Create")
    expect(page.locator(".notice")).to_contain_text("was created")
    expect(page.locator("h1 .badge")).to_have_text("pending")
    page.evaluate("window.neverReloaded = true")
    (tmp_path / "handlers.py").write_text(HANDLERS)
    run_pgsched("worker", "--app", "handlers:app")
    expect(page.locator("h1 .badge")).to_have_text("completed")
    expect(page.locator("main")).to_contain_text("Hello, Ada!")
    assert page.evaluate("window.neverReloaded") is True


def test_retry_of_a_dead_task_brings_it_back(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        set_dead(connection, made, error="Traceback\nValueError: no luck")
        page = look("/dead")
        expect(page.locator("[data-row]")).to_contain_text("ValueError: no luck")
        submit(page, "Retry")
        expect(page.locator(".notice")).to_have_text(f"Task {made} will be retried, with all its attempts.")
        expect(page.locator("h1 .badge")).to_have_text("pending")
        assert task_row(connection, made)["attempts"] == 0


def test_queue_is_paused_and_resumed(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection, queue="mail")

        def paused() -> bool:
            row = connection.execute("select paused from pgsched.queues where name = 'mail'").fetchone()
            return bool(row and row["paused"])

        page = look("/queues")
        row = page.locator("[data-row]")
        expect(row.locator(".badge")).to_have_text("open")
        submit(page, "Pause mail")
        expect(row.locator(".badge")).to_have_text("paused")
        assert paused()
        submit(page, "Resume mail")
        expect(row.locator(".badge")).to_have_text("open")
        assert not paused()


def test_change_to_all_that_fit_a_filter_asks_and_then_leaves_the_others_alone(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        fitting = [insert_task(connection, queue="mail") for _ in range(3)]
        other = insert_task(connection, queue="other")
        page = look("/tasks?queue=mail")
        submit(page, "Cancel…")
        expect(page.locator("h1")).to_have_text("Cancel 3 tasks?")
        assert {task_row(connection, one)["status"] for one in fitting} == {"pending"}
        submit(page, "Cancel 3 tasks")
        expect(page).to_have_url(re.compile(r"/tasks\?queue=mail&change=\d+$"))
        let_begin(dsn)
        expect(page.locator(".strip")).to_contain_text("done, 3 cancelled")
        assert {task_row(connection, one)["status"] for one in fitting} == {"cancelled"}
        assert task_row(connection, other)["status"] == "pending"


def test_change_to_selected_rows_leaves_the_others_alone(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        first, second, third = (insert_task(connection) for _ in range(3))
        page = look("/tasks")
        for one in (first, third):
            page.get_by_label(f"Select task {one}").check()
        expect(page.locator("[data-selected-count]")).to_have_text("2 selected")
        submit(page, "Disable…")
        submit(page, "Disable 2 tasks")
        let_begin(dsn)
        expect(page.locator(".strip")).to_contain_text("done, 2 disabled")
        assert [task_row(connection, one)["enabled"] for one in (first, second, third)] == [False, True, False]


def test_delete_asks_first_and_no_leaves_the_task(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        look.faults.answer = False
        page.get_by_role("button", name="Delete").click()
        assert look.faults.dialogs == [f"Delete task {made}?"]
        assert task_row(connection, made)["status"] == "pending"
        look.faults.answer = True
        submit(page, "Delete")
        expect(page.locator(".notice")).to_have_text(f"Task {made} was deleted.")
        assert connection.execute("select from pgsched.tasks").fetchall() == []


def test_page_of_a_task_is_not_asked_for_again_while_its_deletion_is_on_the_way(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        page = look(f"/tasks/{made}")
        expect(page.locator("#pulse")).to_contain_text("Live")

        def answer_late(route: Route) -> None:
            answer = route.fetch(max_redirects=0)  # the task is gone now, and every page is told so
            page.wait_for_timeout(2_500)
            route.fulfill(response=answer)

        page.route(f"**/tasks/{made}/*", answer_late)
        submit(page, "Delete")
        expect(page.locator(".notice")).to_have_text(f"Task {made} was deleted.")


def test_notice_of_a_change_is_gone_after_a_reload(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    page = look(f"/tasks/{made}")
    submit(page, "Disable")
    expect(page.locator(".notice")).to_be_visible()
    page.reload()
    settled(page)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".notice")).to_have_count(0)
