"""Copies docs/ to the build folder of the site; links that leave docs/ become addresses of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.docs_site.project import CHECKOUT, DOCS, Project

HERE: Final = Path(__file__).parent
MERMAID: Final = HERE / "node" / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js"
PICTURES: Final = (".png", ".svg", ".jpg", ".webp")
DESCRIPTION_LENGTH: Final = 200

_FENCED: Final = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
_TARGET: Final = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
_NAMED_BY_FILE: Final = re.compile(
    r"\[`?(?:docs/)?[\w.]+\.md`?\]\((?P<linked>[\w.]+\.md)(?P<heading>#[\w-]*)?\)"
    r"|(?<![\w/`(\[])docs/(?P<named>\w+\.md)(?P<of_named>#[\w-]+)?(?![`\]\w])"
)
_VERSIONS: Final = (
    '\n[project.extra.version]\nprovider = "mike" # the name of the layout: versions.json beside the versions\n'
)


class BadLink(Exception):
    """A link of a page leads out of docs/, but to no file of the checkout."""


def stage(folder: Path, project: Project, *, revision: str, versioned: bool = False) -> Path:
    """Write the sources of the site into a folder; return the configuration to build them with.

    `revision` is the branch or tag for links to the repository. Raises BadLink, and FileNotFoundError when mermaid is
    not installed.
    """
    pages = folder / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    pages.mkdir(parents=True)
    for source in sorted(DOCS.iterdir()):
        restage(source, folder, project, revision=revision)
    assets = pages / "assets"
    shutil.copytree(HERE / "assets", assets)
    shutil.copy2(CHECKOUT / "pgsched" / "web" / "static" / "icon.svg", assets)
    shutil.copy2(MERMAID, assets / "mermaid.js")
    shutil.copytree(HERE / "theme", folder / "theme")
    config = folder / "zensical.toml"
    config.write_text(project.config + (_VERSIONS if versioned else ""), encoding="utf-8")
    return config


def restage(source: Path, folder: Path, project: Project, *, revision: str) -> None:
    """Write one page or picture of docs/ into a staged folder; other files are skipped."""
    if source.suffix == ".md":
        text = with_repository_links(source.read_text(encoding="utf-8"), project, revision=revision, page=source)
        text = with_titles(text)
        (folder / "docs" / source.name).write_text(f"{_front_matter(text)}{text}", encoding="utf-8")
    elif source.suffix in PICTURES:
        shutil.copy2(source, folder / "docs")


def with_repository_links(text: str, project: Project, *, revision: str, page: Path) -> str:
    """Replace each link that leaves docs/ by the file's address in the repository; code stays unchanged."""

    def address(target: str) -> str:
        path, hash_sign, name = target.partition("#")
        if "://" in target or target.startswith(("#", "mailto:")):
            return target
        leads_to = Path(os.path.normpath(page.parent / path))
        if leads_to.is_relative_to(DOCS):
            return target
        if not leads_to.is_relative_to(CHECKOUT) or not leads_to.exists():
            raise BadLink(f"{page.name}: the link {target} leads to no file of the repository")
        kind = "tree" if leads_to.is_dir() else "blob"
        return f"{project.repo_url}/{kind}/{revision}/{leads_to.relative_to(CHECKOUT)}{hash_sign}{name}"

    return outside_of_code(text, lambda prose: _TARGET.sub(lambda link: address(link[1]), prose))


def with_titles(text: str) -> str:
    """Replace a page's file name, as in [upgrades.md](upgrades.md) or docs/upgrades.md, by its title."""

    def titled(link: re.Match[str]) -> str:
        name, heading = link["linked"] or link["named"], link["heading"] or link["of_named"] or ""
        page = DOCS / name
        return f"[{title(page.read_text(encoding='utf-8'))}]({name}{heading})" if page.is_file() else link[0]

    return outside_of_code(text, lambda prose: _NAMED_BY_FILE.sub(titled, prose))


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Change a page outside its fenced blocks."""
    return "".join(part if index % 2 else change(part) for index, part in enumerate(_FENCED.split(text)))


def description(text: str) -> str:
    """The first sentences below a page's title, without markup: as many as fit, at least one."""
    for paragraph in _FENCED.sub("", text).split("\n\n"):
        prose = " ".join(paragraph.split())
        if prose and not prose.startswith(("#", "|", "!", "<", "- ", "*Not run")):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose).replace("`", "").replace("*", "")
            first, *more = re.split(r"(?<=[.!?])\s", plain)
            found = textwrap.shorten(first, DESCRIPTION_LENGTH, placeholder="…")
            while more and len(longer := f"{found} {more.pop(0)}") <= DESCRIPTION_LENGTH:
                found = longer
            return re.sub(r":$", ".", found)
    return ""


def title(text: str) -> str:
    """A page's first heading. Raises ValueError for a page that does not start with one."""
    first = text.split("\n", 1)[0]
    if not first.startswith("# "):
        raise ValueError(f"a page must start with its title, got {first!r}")
    return first.removeprefix("# ").replace("`", "").strip()


def without_front_matter(text: str) -> str:
    """A staged page as in docs/, except for its links."""
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)


def _front_matter(text: str) -> str:
    return f"---\ndescription: {json.dumps(description(text))}\n---\n"
