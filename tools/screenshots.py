"""``python -m tools.screenshots OUTDIR``: a picture of every page, light and dark, for desktop and phone.

``--docs`` writes only the pictures of the documentation: ``python -m tools.screenshots --docs docs``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from pgsched.web.server import serving
from pgsched.web.settings import WebSettings
from tests.browser.chromium import DESKTOP, PHONE, context_of, launched, settled
from tests.browser.demonstration import Filled, fill
from tests.support.servers import fast_folder
from tests.support.web_face import OPERATOR_TOKEN

SIZES = {"desktop": DESKTOP, "phone": PHONE}
SCHEMES = ("light", "dark")
COLOURS = 256
ZONE = "Europe/Berlin"
DST = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "task_type": "render_report", "start": "2027-03-27T12:00"}
"""A schedule whose preview crosses a clock change."""
DOCS = {
    "dashboard-overview-light": ("overview", "light", 900),
    "dashboard-overview-dark": ("overview", "dark", 900),
    "dashboard-task": ("task-dead", "light", 1700),
    "dashboard-durable": ("task-durable", "light", 1210),
    "dashboard-workflow": ("workflow", "light", 470),
    "dashboard-schedule": ("schedule-new", "dark", 1030),
    "dashboard-doctor": ("doctor", "light", 900),
}
"""The pictures of the documentation: page, scheme, and the height in pixels at which the picture is cut."""


def main() -> int:
    """Write the pictures; return 0."""
    options = _parser().parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=fast_folder(), prefix="pgsched-pictures-") as data,
        EmbeddedServer.start(Path(data) / "server") as server,
    ):
        migrate(server.dsn)
        filled = fill(server.dsn)
        with serving(dsn=server.dsn, settings=WebSettings(port=0)) as url, launched() as browser:
            root = url.rstrip("/")
            if options.docs:
                for name, (shown, scheme, high) in DOCS.items():
                    take(browser, root, filled, folder, size="desktop", scheme=scheme, only=[shown])
                    (folder / f"{shown}-desktop-{scheme}.png").rename(folder / f"{name}.png")
                    crop(folder / f"{name}.png", high)
                return 0
            for size in SIZES:
                for scheme in SCHEMES:
                    take(browser, root, filled, folder, size=size, scheme=scheme, only=options.only)
        with (
            serving(dsn=server.dsn, settings=WebSettings(port=0, operator_token=OPERATOR_TOKEN)) as url,
            launched() as browser,
            context_of(browser, url.rstrip("/")) as (context, _faults),
        ):
            page = context.new_page()
            page.goto("/login")
            save(page, folder / "login-desktop-light.png")
    return 0


def take(
    browser: Browser, url: str, filled: Filled, folder: Path, *, size: str, scheme: str, only: list[str] | None
) -> None:
    """Write the pictures of all pages in one size and scheme."""
    options = {"viewport": SIZES[size], "color_scheme": scheme, "timezone_id": ZONE, "device_scale_factor": 1}
    with context_of(browser, url, **options) as (context, _faults):
        page = context.new_page()
        for name, path in filled.paths().items():
            if only and name not in only:
                continue
            page.goto(path)
            settled(page)
            if name == "schedule-new":
                for field, text in DST.items():
                    page.locator(f"[name={field}]").fill(text)
                page.locator("#preview .badge").first.wait_for()
                page.locator("#preview").scroll_into_view_if_needed()
                page.evaluate("document.activeElement.blur()")
            save(page, folder / f"{name}-{size}-{scheme}.png", whole=size == "phone" or name != "overview")


def save(page: Page, file: Path, *, whole: bool = True) -> None:
    """Write one picture with few colours: flat pages do not need more, and the files stay small."""
    page.screenshot(path=file, full_page=whole, animations="disabled")
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


def crop(file: Path, high: int) -> None:
    """Cut the picture off at ``high`` pixels."""
    with Image.open(file) as picture:
        upper = picture.crop((0, 0, picture.width, min(high, picture.height)))
    upper.save(file, optimize=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUTDIR")
    parser.add_argument("--only", nargs="*", metavar="PAGE", help="the names of pages; all if omitted")
    parser.add_argument("--docs", action="store_true", help="only the pictures of the documentation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
