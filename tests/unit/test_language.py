"""Phrases that readers must not meet again: in the pages, in docstrings, comments and messages, and in the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doc_examples import PAGES
from tests.support.processes import CHECKOUT

EVERYWHERE = {
    r"will do, too": "works as well",
    r"is left to the caller": "the caller commits",
    r"\bit is that of\b": "name the thing",
    r"\bmade anew\b": "recreated",
    r"\bcome what may\b": "in any case",
    r"\bhave got\b": "have",
    r"\bevery so often, so many times\b": "at an interval, N times",
    r"\bmakes no sense is refused\b": "invalid … is rejected",
    r"\bcomes along as\b": "is installed as",
    r"\bis told, not asked\b": "is notified",
}
"""Never right: what to write instead, by the phrase."""

IN_PAGES = {
    r"\bwhat it finds\b": "its findings",
    r"\bso many\b": "say the number or the limit",
    r"\bare told\b": "are notified, are reported",
    r"\btells of\b": "reports",
    r"\banew\b": "again, from the start",
    r"\b(?:is|are) not there\b": "does not exist",
    r"\bgo(?:es)? on (?:by itself|where|with its)\b": "continues",
    r"\bfaces\b|\bthe (?:web|other) face\b": "interface, dashboard, REST API",
    r"\b(?:given?|gives|gave) back\b": "release, return",
    r"\bhanded back\b": "release, return",
    r"\bpass(?:ed|es)? (?:it|them|those)?\s?by\b(?! )": "skip",
    r"\bwhoever asks\b": "the caller",
    r"\bwhat bec(?:omes|ame) of\b": "the outcome of, the status of",
    r"\bfor ever\b": "forever, indefinitely",
    r"\bas ever\b": "as usual",
    r"\bsaid so\b": "stated, reported",
    r"\bstands? (?:in|beside) (?:the|a|its)\b": "is in, is beside",
    r"\bunder way\b": "running, in progress",
    r"\b(?:runs?|ran) out\b(?! of)": "expires",
    r"\bat the least\b": "at least",
}
"""Phrases of the pages' old dialect. In code they may be right: a table name, a message of a library."""

PROSE = (
    *PAGES,
    *(CHECKOUT / name for name in ("CONTRIBUTING.md", "tests/README.md")),
)
GENERATED = ("reference_", "dst_conformance")
"""Pages that are written from code: what is in them is found there."""


def sources() -> Iterator[Path]:
    """Our own code, SQL and files of a deployment."""
    for folder, endings in (
        ("pgsched", ("*.py", "*.yml", "*.html")),
        ("sql/queries", ("*.sql",)),
        ("examples", ("*.py",)),
        ("deploy", ("*.yaml", "*.yml", "*.service", "*.sh")),
        ("benchmarks", ("*.py",)),
        ("chaos", ("*.py",)),
    ):
        for ending in endings:
            yield from sorted((CHECKOUT / folder).rglob(ending))


def found(text: str, phrases: dict[str, str]) -> list[str]:
    """Every phrase of the list in a text, with a few words around it, and what to write instead."""
    plain = re.sub(r"\s+", " ", re.sub(r"^\s*(?:#|--|//|\*)\s", " ", text, flags=re.MULTILINE))
    return [
        f"…{plain[max(0, match.start() - 40) : match.end() + 30]}… ({instead})"
        for phrase, instead in phrases.items()
        for match in re.finditer(phrase, plain, re.IGNORECASE)
    ]


def without_blocks(text: str) -> str:
    """A page without its fenced blocks: those are programs and what they print."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_page_has_no_phrase_of_the_list(page: Path) -> None:
    text = without_blocks(page.read_text(encoding="utf-8"))
    phrases = EVERYWHERE if page.name.startswith(GENERATED) else EVERYWHERE | IN_PAGES
    assert found(text, phrases) == []


def test_source_has_no_phrase_of_the_list() -> None:
    hits = {
        str(path.relative_to(CHECKOUT)): hit
        for path in sources()
        if (hit := found(path.read_text(encoding="utf-8"), EVERYWHERE))
    }
    assert hits == {}


@pytest.mark.parametrize(
    "text",
    [
        "SQLAlchemy's and Django's will\ndo, too.",
        "    # an index that is made\n    # anew",
        "-- A commit, which\n-- is left to the caller.",
    ],
)
def test_phrase_is_found_across_lines_and_comments(text: str) -> None:
    assert len(found(text, EVERYWHERE)) == 1


def test_plain_english_passes() -> None:
    assert found("The task is released, and another worker continues it.", EVERYWHERE | IN_PAGES) == []
