"""The pages as Markdown, for programs that read: llms.txt, llms-full.txt, and page.md beside each page.html.

Zensical writes files of these names from the pages' HTML. These replace them: they contain the text of docs/, in which
only links that leave docs/ are changed.
"""

from __future__ import annotations

from pathlib import Path

from tools.docs_site.project import Project
from tools.docs_site.staging import description, title, without_front_matter


def write_markdown(site: Path, staged: Path, project: Project, *, url: str) -> None:
    """Write all of them into a built site, from the staged pages. `url` is the future address of this site."""
    texts = {page: without_front_matter((staged / page).read_text(encoding="utf-8")) for page in project.pages}
    for page, text in texts.items():
        (site / page).write_text(text, encoding="utf-8")
    (site / "llms.txt").write_text(index(project, texts, url=url), encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(text.strip() for text in texts.values()) + "\n", encoding="utf-8")


def index(project: Project, texts: dict[str, str], *, url: str) -> str:
    """llms.txt: a description of the project, then each page with its first sentence."""
    parts = [f"# {project.name}", f"> {project.description}", f"Everything in one file: {url}llms-full.txt"]
    for section, pages in project.sections.items():
        lines = [f"- [{title(texts[page])}]({url}{page}): {description(texts[page])}" for page in pages]
        parts += [f"## {section}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
