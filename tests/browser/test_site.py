"""What people do between pages: several databases, links from elsewhere, the login of an identity provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from pgsched.web import OidcSettings
from pgsched.web.server import bound, serving
from pgsched.web.settings import WebSettings
from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.pages import WIDER_THAN_THE_WINDOW, Looks, submit
from tests.browser.test_all_pages import violations
from tests.support.oidc_provider import CLIENT, SECRET, running_provider
from tests.support.tables import database, insert_task
from tests.support.web_face import OPERATOR_TOKEN

AWAY = "postgresql://127.0.0.1:1/away"
LONG = "a-database-with-a-name-of-forty-letters."


@pytest.fixture
def site(dsn: str) -> Iterator[str]:
    with serving(dsn={"billing": dsn, LONG: dsn, "mail": AWAY}, settings=WebSettings(port=0)) as url:
        yield url.rstrip("/")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("palette", ["light", "dark"])
def test_first_page_and_the_switch_have_no_faults(
    browser: Browser, site: str, dsn: str, viewport: dict[str, int], palette: str
) -> None:
    with database(dsn) as connection:
        insert_task(connection)
    with Looks(browser, site, viewport=viewport, color_scheme=palette, bypass_csp=True) as looks:
        page = looks("/")
        expect(page.get_by_role("heading", name="mail")).to_be_visible()
        expect(page.get_by_text("It does not answer")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == []
        page = looks(f"/{LONG}/queues")
        summary = page.locator(".switch summary")
        summary.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".switch").get_by_role("link", name="billing")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == []
        page.keyboard.press("Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page).to_have_url(f"{site}/billing/queues")


def test_link_from_another_site_leads_to_the_page_when_one_is_logged_in(
    browser: Browser, serve: Callable[..., str], dsn: str
) -> None:
    url = serve(dsn, operator_token=OPERATOR_TOKEN)
    with Looks(browser, url) as looks:
        page = looks("/tasks?status=dead")  # to the login, and on
        page.get_by_label("Token").fill(OPERATOR_TOKEN)
        submit(page, "Log in")
        expect(page).to_have_url(f"{url}/tasks?status=dead")
        looks.forgive()  # the other site is one
        mail = looks.context.new_page()
        mail.route("http://mail.example/", lambda route: route.fulfill(
            body=f'<a href="{url}/queues">look</a><iframe src="{url}/tasks"></iframe><img src="{url}/tasks">',
            content_type="text/html",
        ))  # fmt: skip
        mail.goto("http://mail.example/")
        with mail.expect_navigation():
            mail.get_by_role("link", name="look").click()
        expect(mail).to_have_url(f"{url}/queues")
        expect(mail.get_by_role("heading", level=1)).to_have_text("Queues")


def test_login_and_logout_by_an_identity_provider(browser: Browser, dsn: str) -> None:
    with bound("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with running_provider() as provider:
        oidc = OidcSettings(
            issuer=provider.issuer, client_id=CLIENT, client_secret=SECRET, operator=["jobs-operators"],
            public_url=f"http://127.0.0.1:{port}",
        )  # fmt: skip
        settings = WebSettings(port=port, oidc=oidc, operator_token=OPERATOR_TOKEN)
        with serving(dsn=dsn, settings=settings) as url, Looks(browser, url.rstrip("/")) as looks:
            page = looks("/queues")
            looks.forgive()  # the provider is elsewhere
            with page.expect_navigation(url=f"{url}queues"):
                page.get_by_role("link", name="Log in with 127.0.0.1").click()
            submit(page, "Log out ada", within="body")
            expect(page.get_by_text("You are logged out here.")).to_be_visible()
            leaves = page.get_by_role("link", name="Log out at 127.0.0.1 too")
            expect(leaves).to_have_attribute("href", f"{provider.issuer}/logout?client_id={CLIENT}"
                f"&post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A{port}%2Flogin")  # fmt: skip
