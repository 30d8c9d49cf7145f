"""The settings of the site's project: its addresses and its navigation."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

CHECKOUT: Final = Path(__file__).resolve().parents[2]
CONFIG: Final = CHECKOUT / "zensical.toml"
PACKAGE: Final = CHECKOUT / "pyproject.toml"
DOCS: Final = CHECKOUT / "docs"


@dataclass(frozen=True, kw_only=True)
class Project:
    """The settings from zensical.toml that the build needs, with the addresses of pyproject.toml where it has some."""

    name: str
    description: str
    site_url: str
    repo_url: str
    branch: str
    config: str
    """The text of zensical.toml with these addresses."""
    sections: dict[str, list[str]]
    """The pages of each part of the navigation, in order. A page outside all parts is a part of its own."""

    @classmethod
    def read(cls, config: Path = CONFIG, package: Path = PACKAGE) -> Self:
        """Read both files. Raises KeyError for a missing setting."""
        text = config.read_text(encoding="utf-8")
        settings = tomllib.loads(text)["project"]
        urls = tomllib.loads(package.read_text(encoding="utf-8"))["project"].get("urls", {})
        site_url = f"{urls['Documentation'].rstrip('/')}/" if "Documentation" in urls else settings["site_url"]
        repo_url = urls.get("Source", settings["repo_url"]).rstrip("/")
        return cls(
            name=settings["site_name"],
            description=settings["site_description"],
            site_url=site_url,
            repo_url=repo_url,
            branch=settings["edit_uri"].split("/")[1],
            config=text.replace(settings["site_url"], site_url).replace(settings["repo_url"], repo_url),
            sections={title: list(_pages(entry)) for part in settings["nav"] for title, entry in part.items()},
        )

    @property
    def pages(self) -> list[str]:
        """Every page of the navigation, in reading order."""
        return [page for pages in self.sections.values() for page in pages]


def _pages(entry: Any) -> Iterator[str]:
    """The pages beneath an entry of the navigation: a page, a list, or a title with either."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for inner in entry.values():
            yield from _pages(inner)
    else:
        for inner in entry:
            yield from _pages(inner)
