"""A Python-Markdown extension: headings get the anchors that GitHub gives them, so that one link works in both."""

from __future__ import annotations

from collections import Counter
from html import unescape
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.extensions.toc import render_inner_html, strip_tags
from markdown.treeprocessors import Treeprocessor

from tools.docs.markdown import anchor

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


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


class GitHubHeadingsExtension(Extension):
    """Runs before the table of contents, which keeps an ``id`` that is there."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the processor between inline patterns (20) and the table of contents (5)."""
        md.treeprocessors.register(GitHubHeadings(md), "github_headings", 6)


def makeExtension(**options: Any) -> GitHubHeadingsExtension:
    """Return the extension."""
    return GitHubHeadingsExtension(**options)
