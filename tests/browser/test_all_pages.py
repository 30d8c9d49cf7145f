"""What holds on every page: no fault, no sideways scroll on a phone, nothing that shuts people out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import DESKTOP, PHONE, settled
from tests.browser.demonstration import Filled
from tests.browser.pages import OPEN_ALL, WIDER_THAN_THE_WINDOW, Looks
from tests.support.waiting import wait_until
from tests.support.web_face import OPERATOR_TOKEN

AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """(rules) => axe.run(document, { resultTypes: ['violations'], ...(rules && { runOnly: rules }) })
  .then((found) => found.violations)"""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""What the palette changes; the rest is the same in both."""
GRAVE = {"moderate", "serious", "critical"}

Tour = Callable[..., Looks]


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """What axe-core has against a page, as lines."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=AXE)
    return [
        f"{one['impact']} {one['id']}: {node['html'][:160]} ({node['failureSummary'][:200]})"
        for one in page.evaluate(RUN_AXE, rules)
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def test_no_page_has_a_fault(demonstration: tuple[str, Filled], tour: Tour) -> None:
    looks = tour()
    page = looks("/")
    for path in (*demonstration[1].paths().values(), "/login"):
        page.goto(path)
        settled(page)
        expect(page.locator("h1")).to_be_visible()
    looks.allow_refusals(404)
    answer = page.goto("/tasks/999999999")
    assert answer is not None
    assert answer.status == 404
    assert "/live" in looks.faults.asked  # the control: requests are seen


def test_faults_of_a_page_are_seen(look: Looks) -> None:
    page = look("/")
    look.forgive()
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.ran = true';
          document.body.append(script);
          new Image().src = 'http://127.0.0.1:9/picture.png';
          setTimeout(() => { throw new Error('broken'); });
        }"""
    )
    for word in ("script-src-elem stopped inline", "img-src stopped http://127.0.0.1:9/", "script: broken"):
        said = functools.partial(lambda word: page.title() and any(word in one for one in look.faults.found), word)
        wait_until(said, message=f"{word} is a fault")
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("wide", [390, 1024, 1440, 1920])
def test_no_page_scrolls_sideways(demonstration: tuple[str, Filled], tour: Tour, wide: int) -> None:
    page = tour(viewport={"width": wide, "height": 844}, has_touch=wide == PHONE["width"])("/")
    for path in demonstration[1].paths().values():
        page.goto(path)
        settled(page)
        page.evaluate(OPEN_ALL)
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == [], path
    page.evaluate("document.querySelector('h1').style.minWidth = '2000px'")
    assert page.evaluate(WIDER_THAN_THE_WINDOW) != []  # the control: what is too wide is seen


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", OF_COLOURS)])
def test_axe_has_nothing_against_any_page(
    demonstration: tuple[str, Filled], tour: Tour, size: dict[str, int], scheme: str, rules: list[str] | None
) -> None:
    page = tour(bypass_csp=True, color_scheme=scheme, viewport=size)("/")
    found = []
    for name, path in demonstration[1].paths().items():
        if name == "tasks":  # the same as with a filter, but for many rows
            continue
        page.goto(path)
        settled(page)
        found += [f"{path}: {one}" for one in violations(page, rules)]
    if size is PHONE:
        page.get_by_role("button", name="Menu").click()
        found += [f"the menu: {one}" for one in violations(page, rules)]
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_against_pages_without_a_head(
    browser: Browser, serve: Callable[..., str], tour: Tour, dsn: str, scheme: str
) -> None:
    with Looks(browser, serve(dsn, operator_token=OPERATOR_TOKEN), bypass_csp=True, color_scheme=scheme) as looks:
        page = looks("/login")
        expect(page.get_by_label("Token")).to_be_visible()
        assert violations(page) == []
    looks = tour(bypass_csp=True, color_scheme=scheme)
    looks.allow_refusals(404)
    page = looks("/tasks/999999999")
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("document.querySelector('h1').style.color = '#d8dbe0'", "color-contrast"),
        (
            "document.querySelector('#quick').labels[0].remove(), document.querySelector('#quick').placeholder = ''",
            "label",
        ),
    ],
)
def test_axe_sees_what_is_wrong(tour: Tour, broken: str, rule: str) -> None:
    page = tour(bypass_csp=True)("/")
    page.evaluate(f"() => {{ {broken} }}")
    assert any(rule in one for one in violations(page))


def test_phone_shows_rows_in_few_lines_and_the_menu_when_asked(demonstration: tuple[str, Filled], tour: Tour) -> None:
    page = tour(viewport=PHONE, has_touch=True)("/tasks")
    assert page.evaluate("document.querySelector('header').offsetHeight") < PHONE["height"] / 10
    high, rows = page.evaluate("[document.body.scrollHeight, document.querySelectorAll('[data-row]').length]")
    assert (rows, high < 5_500) == (50, True), high
    link = page.get_by_role("link", name="Workers")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").tap()
    expect(link).to_be_visible()
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    page.goto(f"/tasks/{demonstration[1].running}")
    settled(page)
    assert page.evaluate("document.querySelector('.log td:last-child').offsetWidth") > 300  # no column of single words


def test_head_of_a_list_and_what_may_be_done_to_it_stay_in_sight(tour: Tour) -> None:
    page = tour()("/tasks")
    page.mouse.wheel(0, 900)
    wait_until(lambda: page.evaluate("scrollY") > 800, message="it has scrolled")  # not in the page: it forbids eval
    for selector in (".top", "#live-tasks thead th:last-child", "#bulk", ".side a[aria-current]"):
        box = page.locator(selector).bounding_box()
        assert box is not None, selector
        assert 0 <= box["y"] <= DESKTOP["height"] - box["height"], selector


def test_chosen_palette_is_kept_on_the_next_page(look: Looks) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    page = look("/")
    light = page.evaluate(back)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(back)
    assert dark != light
    page.goto("/tasks")
    settled(page)
    assert page.evaluate(back) == dark
    expect(page.get_by_role("button", name="Light")).to_be_visible()


def test_pages_work_without_scripts(look: Looks, browser: Browser) -> None:
    options: dict[str, Any] = {"java_script_enabled": False, "base_url": look.url}
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.goto("/schedules/new")
        page.get_by_label("Type", exact=True).fill("report")
        page.get_by_label("Cron expression").fill("0 8 * * *")
        page.get_by_role("button", name="Show next runs").click()
        expect(page.locator("#preview li")).to_have_count(5)
        page.get_by_role("button", name="Create").click()
        expect(page.locator(".notice")).to_contain_text("was created")
        expect(page.locator("footer")).to_have_text("Times are shown in UTC.")
        page.set_viewport_size({"width": 390, "height": 844})
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("link", name="Workers").click()
        expect(page.locator("h1")).to_have_text("Workers")
    finally:
        context.close()
