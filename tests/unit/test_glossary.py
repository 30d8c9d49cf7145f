"""docs/glossary.md rules: its terms are used in the pages, and the words that it replaces are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.doc_examples import PAGES, tables
from tests.support.processes import CHECKOUT
from tests.unit.test_doc_pages import without_code

GLOSSARY = CHECKOUT / "docs" / "glossary.md"
ROWS = [row for one in tables(GLOSSARY) if one.columns[0] == "term" for row in one.rows]
INSTEAD_OF = {word: row["term"] for row in ROWS for word in row["instead of"].split(", ") if word}

OURS = [
    page
    for page in PAGES
    if page != GLOSSARY and page.name != "comparison.md" and not page.name.startswith(("from_", "reference_"))
]
"""Pages in our own words; those that speak of other systems use theirs, references quote the program."""


def words(page: Path) -> str:
    return re.sub(r"\s+", " ", without_code(page.read_text(encoding="utf-8"))).lower()


def has(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word.lower())}s?(?![\w-])", text) is not None


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {page.name: words(page) for page in OURS}


def test_every_term_is_used(pages: dict[str, str]) -> None:
    everything = " ".join(pages.values())
    assert [row["term"] for row in ROWS if not has(everything, row["term"])] == []


def test_replaced_words_are_not_used(pages: dict[str, str]) -> None:
    found = [(name, word) for name, text in pages.items() for word in INSTEAD_OF if has(text, word)]
    assert [f"{name}: {word!r} is {INSTEAD_OF[word]!r}" for name, word in found] == []


def test_term_has_one_meaning() -> None:
    terms = [row["term"] for row in ROWS]
    assert len(terms) == len(set(terms)) > 50
    assert set(terms) & set(INSTEAD_OF) == set()


def test_replaced_word_is_found_also_in_the_plural() -> None:
    assert has("two dlqs and a time-out", "DLQ")
    assert has("two dlqs and a time-out", "time-out")
    assert not has("a runtime-outline", "time-out")
