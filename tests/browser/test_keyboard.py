"""The dashboard without a mouse."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import PHONE, settled
from tests.browser.pages import Looks
from tests.support.bulk import let_begin
from tests.support.tables import database, insert_task, set_dead, task_row

FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return { what: `${one.tagName} ${one.id || one.name || one.textContent.trim()}`,
    name: one.name || null, value: one.value || null,
    text: one.textContent.trim(), ring, inSight: box.width > 0 && box.right > 0 && box.bottom > 0 };
}"""


def focused(page: Page) -> dict[str, Any] | None:
    found: dict[str, Any] | None = page.evaluate(FOCUSED)
    return found


def tab_to(page: Page, **wanted: str) -> None:
    """Press Tab until an element is reached."""
    for _ in range(60):
        page.keyboard.press("Tab")
        now = focused(page)
        if now is not None and wanted.items() <= now.items():
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def test_keys_go_through_rows_select_one_and_open_it(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        first, second, third = (insert_task(connection) for _ in range(3))
    page = look("/tasks")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.here")).to_contain_text(str(second))
    page.keyboard.press("k")
    expect(page.locator("tr.here")).to_contain_text(str(third))
    page.keyboard.press("x")
    expect(page.get_by_label(f"Select task {third}")).to_be_checked()
    expect(page.locator("[data-selected-count]")).to_have_text("1 selected")
    for _ in range(4):
        page.keyboard.press("j")
    expect(page.locator("tr.here")).to_contain_text(str(first))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(f"Task {first}")


def test_keys_lead_to_pages_search_and_help(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
    page = look("/")
    places = {"t": "/tasks", "s": "/schedules", "w": "/workflows", "q": "/queues", "d": "/dead", "e": "/executions"}
    for key, path in {**places, "o": "/"}.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(look.url + path)
        settled(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#quick")).to_be_focused()
    page.keyboard.type(f"#{made}")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(f"Task {made}")


def test_letters_in_a_field_are_no_shortcuts(look: Looks) -> None:
    page = look("/tasks")
    page.get_by_label("Queue").focus()
    page.keyboard.type("gs?/jx")
    expect(page.get_by_label("Queue")).to_have_value("gs?/jx")
    assert page.url == f"{look.url}/tasks"
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_every_place_that_tab_reaches_shows_the_focus(dsn: str, look: Looks) -> None:
    with database(dsn) as connection:
        insert_task(connection)
    for path in ("/tasks", "/queues", "/schedules/new"):
        page = look(path)
        reached: list[str] = []
        for _ in range(80):
            page.keyboard.press("Tab")
            now = focused(page)
            if now is None:
                break
            assert now["ring"], f"{path}: no ring around {now['what']}"
            assert now["inSight"], f"{path}: {now['what']} is out of sight"
            reached.append(now["what"])
        assert reached[0] == "A Skip to the content"
        assert len(reached) > 15, reached
        page.evaluate("document.querySelector('.brand').style.outline = 'none'")
        page.locator(".brand").focus()
        control = focused(page)
        assert control is not None
        assert not control["ring"]  # one without a ring is seen
        page.close()


def test_form_is_filled_in_and_sent_with_the_keyboard_alone(dsn: str, look: Looks) -> None:
    page = look("/schedules/new")
    tab_to(page, name="task_type")
    page.keyboard.type("report")
    tab_to(page, name="payload")
    page.keyboard.press("Control+A")
    page.keyboard.type('{"days": 7}')
    tab_to(page, name="cron")
    page.keyboard.type("0 8 * * mon")
    expect(page.locator("#preview li")).to_have_count(5)
    tab_to(page, text="Create")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("was created")
    with database(dsn) as connection:
        (row,) = connection.execute("select cron_expression, payload from pgsched.tasks").fetchall()
    assert row == {"cron_expression": "0 8 * * mon", "payload": {"days": 7}}


def test_a_whole_job_is_done_with_tab_enter_space_and_arrows_alone(dsn: str, look: Looks) -> None:
    """From the overview to the dead letters of one type, two of them selected, retried, and the change looked at."""
    with database(dsn) as connection:
        made = [insert_task(connection, "mail") for _ in range(3)]
        for one in made:
            set_dead(connection, one, error="ValueError: no luck")
    page = look("/")
    tab_to(page, text="Tasks")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    settled(page)
    tab_to(page, name="status")
    for _ in range(10):  # the statuses in their order, by the arrow
        if page.locator("[name=status]").input_value() == "dead":
            break
        page.keyboard.press("ArrowDown")
    tab_to(page, name="task_type")
    page.keyboard.type("mail")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    settled(page)
    for one in made[:0:-1]:
        tab_to(page, value=str(one))
        page.keyboard.press("Space")
    expect(page.locator("[data-selected-count]")).to_have_text("2 selected")
    tab_to(page, text="Retry…")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    settled(page)
    tab_to(page, text="Retry 2 tasks")
    with page.expect_navigation():
        page.keyboard.press("Space")
    settled(page)
    let_begin(dsn)
    expect(page.locator(".strip")).to_contain_text("done, 2 retried")
    tab_to(page, text="Retry 2 tasks")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("done")
    with database(dsn) as connection:
        assert [task_row(connection, one)["status"] for one in made] == ["dead", "pending", "pending"]


def test_menu_of_a_phone_is_opened_and_left_with_the_keyboard(browser: Browser, look: Looks) -> None:
    with Looks(browser, look.url, viewport=PHONE) as looks:
        page = looks("/")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        expect(page.get_by_role("link", name="Audit log")).to_be_visible()
        tab_to(page, text="Queues")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Queues")
