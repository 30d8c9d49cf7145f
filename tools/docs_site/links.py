"""Checks a built site: links and anchors resolve, images have alt texts, nothing is loaded from other hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}
"""Attributes that a browser loads by itself."""
NAMES_ONLY = ("canonical", "alternate", "prev", "next", "edit", "describedby")
"""Relations of <link> that a browser does not load."""
EXTERNAL = ("http", "https", "mailto")


@dataclass(kw_only=True)
class Page:
    """The parts of a page that the check needs."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    undescribed: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in ("a", "area") and "href" in given:
            self.page.links.append(given["href"])
        named = tag == "link" and given.get("rel", "") in NAMES_ONLY
        for name, value in given.items():
            if (tag, name) in LOADS:
                (self.page.links if named else self.page.loads).append(value)
        if tag == "img" and "alt" not in given:
            self.page.undescribed.append(given.get("src", ""))


def faults(site: Path, site_url: str) -> list[str]:
    """Return the faults of a built site's links, one per line. Addresses under `site_url` belong to the site."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    found: list[str] = []
    for path, page in pages.items():
        here = path.relative_to(site).as_posix()
        base = urljoin(site_url, here)
        found += [f"{here}: the picture {source} has no alt text" for source in page.undescribed]
        for link in [*page.links, *page.loads]:
            loaded = link in page.loads
            if loaded and link.startswith("data:"):
                continue
            target = link if link.startswith("https:") else urljoin(base, link)
            if target.startswith(site_url):
                reason = _misses(site, target.removeprefix(site_url), pages)
            else:
                reason = "is loaded from elsewhere" if loaded else malformed(target)
            if reason:
                found.append(f"{here}: {link} {reason}")
    return found


def external_links(site: Path, site_url: str) -> set[str]:
    """Every address outside of the site that its pages link to."""
    return {
        link
        for path in site.rglob("*.html")
        for link in _read(path).links
        if urlsplit(link).scheme in EXTERNAL and not link.startswith(site_url)
    }


def malformed(address: str) -> str | None:
    """Return the fault of an external address, judged by its form alone; None for a valid one."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - raises for an invalid port
    except ValueError as error:
        return f"is not an address: {error}"
    if parts.scheme not in EXTERNAL:
        return f"has the scheme {parts.scheme or 'none'!r}, not one of {', '.join(EXTERNAL)}"
    if any(sign in address for sign in " <>\"'`{}|\\^"):
        return "has a character that addresses must not contain"
    if parts.scheme != "mailto" and not parts.hostname:
        return "names no host"
    return None


def _misses(site: Path, path: str, pages: dict[Path, Page]) -> str | None:
    """Return why an address within the site does not resolve; None when it does."""
    parts = urlsplit(path)
    file = site / unquote(parts.path)
    if file.is_dir():
        file /= "index.html"
    if not file.is_file():
        return "leads to no file"
    anchor = unquote(parts.fragment)
    # The theme's own switches have names such as __search.
    if anchor and file in pages and anchor not in pages[file].anchors:
        return "leads to no heading"
    return None


def _read(path: Path) -> Page:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page


def lines(found: list[str]) -> Iterator[str]:
    """Faults, each only once: the navigation repeats itself on every page."""
    yield from dict.fromkeys(found)
