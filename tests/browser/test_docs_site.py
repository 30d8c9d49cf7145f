"""The documentation site, as `make docs-site` builds it: strictly, then opened in Chromium."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import markdown
import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, expect

from tests.browser.chromium import DESKTOP, PHONE, context_of
from tests.browser.pages import WIDER_THAN_THE_WINDOW
from tests.browser.test_all_pages import violations
from tests.support.waiting import wait_until
from tools.docs_site.building import build
from tools.docs_site.project import DOCS, Project

PAGES = ("index.html", "handlers.html", "architecture.html", "top.html", "404.html")
"""The first page, a guide, one with diagrams, one with a picture, and the one for no page."""
SCHEMES = {"light": "default", "dark": "slate"}
"""What the theme calls them."""
COMPARED = ("h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "td", "em", "strong", "img", "blockquote")


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing about requests."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning or a broken link fails every test here."""
    folder = tmp_path_factory.mktemp("docs")
    site = folder / urlsplit(Project.read().site_url).path.strip("/")
    build(site, stage_in=folder / "stage")
    return site


@pytest.fixture(scope="session")
def url(site: Path) -> Iterator[str]:
    """Where it is served: at its own path, which the page for missing pages names."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(site.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{site.name}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("viewport", "palette"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["light desktop", "dark phone"]
)
def test_pages_have_no_faults_and_ask_nobody_else(
    browser: Browser, url: str, viewport: dict[str, int], palette: str
) -> None:
    with context_of(browser, url, viewport=viewport, color_scheme=palette) as (context, faults):
        page = context.new_page()
        for name in PAGES:
            page.goto(name)
            expect(page.locator("h1")).to_be_visible()
            assert (
                page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[palette]
            )
            serious = [one for one in violations(page) if one.startswith(("critical", "serious"))]
            assert [f"{name}: {one}" for one in serious] == []
            assert page.evaluate(WIDER_THAN_THE_WINDOW) == []
        page.goto("reference_sql.html")
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == []
    assert faults.found == []


def test_search_finds_a_page_and_a_diagram_is_drawn(browser: Browser, url: str) -> None:
    with context_of(browser, url) as (context, faults):
        page = context.new_page()
        page.goto("index.html")
        assert not any(path.endswith("/mermaid.js") for path in faults.asked)
        field = page.locator("input:focus")

        def opened() -> bool:
            page.keyboard.press("Control+k")  # nobody listens yet while the theme starts its search
            page.wait_for_timeout(200)
            return field.count() == 1

        wait_until(opened, timeout=60, message="the search has opened")
        field.fill("fencing token")  # letters before the field has the focus are shortcuts
        expect(page.get_by_role("option").filter(has_text="token").first).to_be_visible()
        page.goto("state_machine.html")
        expect(page.locator("div.mermaid")).to_be_visible()
        assert any(path.endswith("/assets/mermaid.js") for path in faults.asked)
    assert faults.found == []


def test_pages_are_there_as_markdown_and_the_button_copies_it(browser: Browser, url: str, site: Path) -> None:
    assert (site / "keys.md").read_text(encoding="utf-8").startswith("# Tasks by their keys\n")
    assert (site / "llms-full.txt").read_text(encoding="utf-8").count("\n# Tasks by their keys\n") == 1
    with context_of(browser, url, permissions=["clipboard-read", "clipboard-write"]) as (context, faults):
        page = context.new_page()
        page.goto("keys.html")
        page.locator("[data-md-copy-url]").click()
        expect(page.locator(".md-dialog")).to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == (site / "keys.md").read_text(encoding="utf-8")
    assert faults.found == []


@pytest.mark.parametrize("name", Project.read().pages)
def test_page_has_the_structure_that_github_shows(site: Path, name: str) -> None:
    github = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render((DOCS / name).read_text("utf-8"))
    article = (site / name).with_suffix(".html").read_text(encoding="utf-8")
    article = article.partition("<article")[2].partition("</article>")[0]
    assert _counted(article) == _counted(github)


def test_list_is_rendered_as_on_github() -> None:
    text = "1. one\n\n   ```sh\n   a\n   ```\n\n2. two\n   goes on\n   - inner\n\n- b\n  - c\n\nEnd.\n\n## A\n\n## A\n"
    used = ["toc", "sane_lists", "pymdownx.superfences", "tools.docs_site.github_markdown"]
    html = markdown.markdown(text, extensions=used)
    assert _counted(html) == _counted(MarkdownIt("commonmark").render(text))
    assert "<pre" in html
    assert re.findall(r'id="(.+?)"', html) == ["a", "a-1"]


class _Counter(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += tag in COMPARED


def _counted(html: str) -> Counter[str]:
    counter = _Counter()
    counter.feed(html)
    return counter.tags
