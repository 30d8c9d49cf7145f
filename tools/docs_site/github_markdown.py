"""A Python-Markdown extension for pages that are written for GitHub: the same heading anchors, the same lists."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from typing import Any, Final
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.extensions.toc import render_inner_html, strip_tags
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor

from tools.docs.markdown import anchor

HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
INDENT: Final = 4
"""The indent that Python-Markdown requires for the content of a list item."""
_ITEM: Final = re.compile(r"(?:[-*+]|\d+\.) ")


class GitHubHeadings(Treeprocessor):
    """Gives each heading its ``id``."""

    def run(self, root: Element) -> None:
        """Number a repeated heading from 1, as GitHub does; Python-Markdown's own anchors end with _1."""
        times: Counter[str] = Counter()
        for element in root.iter():
            if element.tag in HEADINGS and "id" not in element.attrib:
                name = anchor(unescape(strip_tags(render_inner_html(element, self.md))))
                element.set("id", f"{name}-{times[name]}" if times[name] else name)
                times[name] += 1


class GitHubLists(Preprocessor):
    """Widens the indent of item content for Python-Markdown: on GitHub it starts below the item's text."""

    def run(self, lines: list[str]) -> list[str]:
        """Widen the indent of every line below an item, up to the next line that is not indented."""
        width = 0  # of the item's marker; 0 outside lists
        fenced = False
        found = []
        for line in lines:
            fenced ^= line.startswith("```")
            item = None if fenced else _ITEM.match(line)
            if item:
                width = item.end()
            elif line.strip() and not line.startswith(" " * width):
                width = 0
            widens = width and not item and line.strip()
            found.append(" " * max(INDENT - width, 0) + line if widens else line)
        return found


class GitHubMarkdown(Extension):
    """The extension with both."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register them: lists before fenced code (25), headings between inline patterns (20) and the contents (5)."""
        md.preprocessors.register(GitHubLists(md), "github_lists", 28)
        md.treeprocessors.register(GitHubHeadings(md), "github_headings", 6)


def makeExtension(**options: Any) -> GitHubMarkdown:
    """Return the extension."""
    return GitHubMarkdown(**options)
