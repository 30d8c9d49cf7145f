"""README.md, docs/*.md and other pages: examples are run, links lead somewhere, pictures are described."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.doc_examples import PAGES, RUN, SHOWN, Block, blocks
from tests.support.processes import CHECKOUT
from tools.docs.markdown import anchor
from tools.docs_site.links import malformed

OTHERS = [CHECKOUT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "tests/README.md")]
EVERY_BLOCK = [block for page in PAGES for block in blocks(page)]
MOST_EXEMPT = 0.25
"""Of all examples at most so many are not run."""

each_page = pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
WITH_MESSAGES = (".py", ".sql", ".yml", ".yaml", ".html", ".js", ".toml", ".service")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def links(text: str) -> list[tuple[str, str, str]]:
    """Every link outside of code: ``!`` for a picture, its text, where it leads."""
    return _LINK.findall(without_code(text))


def without_code(text: str) -> str:
    """A page without its fenced blocks and without code in its lines."""
    return re.sub(r"(`+)[^`\n]+\1", "code", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, a second one of the same name with a number."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    times: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        name = anchor(heading)
        found.add(f"{name}-{times[name]}" if times[name] else name)
        times[name] += 1
    return found


def missing_pages(text: str) -> list[str]:
    """Pages of docs/ that a program's text names and that are not there, or have no such heading."""
    named = re.findall(r"\b(docs/\w+\.md)(?:#([\w-]+))?", text)
    pages = [(CHECKOUT / path, name) for path, name in named]
    return [f"{page.name}#{name}" for page, name in pages if not page.exists() or (name and name not in anchors(page))]


# Examples.


@pytest.mark.parametrize("block", EVERY_BLOCK, ids=str)
def test_block_is_run_or_says_why_not(block: Block) -> None:
    if block.language in SHOWN:
        assert block.not_run is None
    elif block.same_as is not None:
        assert block.text in (CHECKOUT / block.same_as).read_text(encoding="utf-8"), f"{block.same_as} has it otherwise"
    elif block.not_run is not None:
        assert len(block.not_run.split()) >= 2, "that is no reason"
    else:
        assert block.language in RUN, f"no test runs {block.language or 'a block without a language'}"


@each_page
def test_reason_why_an_example_is_not_run_can_be_seen(page: Path) -> None:
    hidden = re.findall(r"^<!-- not run.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert hidden == [], "readers do not see that: write *Not run by the tests: reason.*"


def test_most_examples_are_run() -> None:
    examples = [block for block in EVERY_BLOCK if block.language not in SHOWN]
    exempt = [str(block) for block in examples if block.not_run is not None]
    assert len(exempt) <= MOST_EXEMPT * len(examples), f"{len(exempt)} of {len(examples)} are not run: {exempt}"


# What the pages point to.


@each_page
def test_link_leads_somewhere(page: Path) -> None:
    astray = []
    for _, _, target in links(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, name = target.partition("#")
        leads_to = page.parent / path if path else page
        if not leads_to.exists() or (name and leads_to.suffix == ".md" and name not in anchors(leads_to)):
            astray.append(target)
    assert astray == []


@pytest.mark.parametrize("folder", ["pgsched", "sql", "deploy", "examples", "tools"])
def test_page_that_a_message_or_a_comment_names_is_there(folder: str) -> None:
    files = [file for file in (CHECKOUT / folder).rglob("*") if file.suffix in WITH_MESSAGES]
    ours = [file for file in files if "node_modules" not in file.parts]
    assert {file.name: gone for file in ours if (gone := missing_pages(file.read_text(encoding="utf-8")))} == {}


@each_page
def test_external_link_is_well_formed(page: Path) -> None:
    outside = [target for _, _, target in links(page.read_text(encoding="utf-8")) if "://" in target]
    assert [(target, reason) for target in outside if (reason := malformed(target))] == []


@each_page
def test_picture_is_described(page: Path) -> None:
    pictures = [(text, target) for mark, text, target in links(page.read_text(encoding="utf-8")) if mark]
    assert [target for text, target in pictures if len(text.split()) < 2] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_path_in_the_checkout_exists(page: Path) -> None:
    paths = re.findall(
        r"`((?:pgsched|sql|tests|benchmarks|chaos|tools|deploy)/[\w/.]+)`", page.read_text(encoding="utf-8")
    )
    ours = [path for path in paths if not path.startswith("deploy/secrets/")]  # made on the machine
    assert [path for path in ours if not (CHECKOUT / path).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in readme] == []


def test_every_picture_is_shown_on_a_page() -> None:
    shown = {target.rpartition("/")[2] for page in PAGES for mark, _, target in links(page.read_text("utf-8")) if mark}
    pictures = {picture.name for kind in ("png", "svg") for picture in (CHECKOUT / "docs").glob(f"*.{kind}")}
    assert pictures - shown == set()


@each_page
def test_no_level_of_headings_is_left_out(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    levels = [len(signs) for signs in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert [below for above, below in pairwise(levels) if below > above + 1] == []


# That the checks above see what they are for.


def test_link_to_a_missing_heading_or_file_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n## Two\n\n## Two\n\n[a](#two-1) [b](#three) [c](gone.md) `[d](no.md)` ![](p.png)\n")
    assert anchors(page) == {"one", "two", "two-1"}
    assert [target for _, _, target in links(page.read_text())] == ["#two-1", "#three", "gone.md", "p.png"]
    with pytest.raises(AssertionError, match="#three"):
        test_link_leads_somewhere(page)
    with pytest.raises(AssertionError, match=r"p\.png"):
        test_picture_is_described(page)


def test_page_that_a_message_names_in_vain_is_found() -> None:
    text = "see docs/keys.md, docs/gone.md, docs/keys.md#here"
    assert missing_pages(text) == ["gone.md#", "keys.md#here"]


def test_block_without_a_test_is_found() -> None:
    with pytest.raises(AssertionError, match="no test runs yaml"):
        test_block_is_run_or_says_why_not(Block(page=PAGES[0], line=1, language="yaml", text="a: 1\n", not_run=None))


def test_tests_that_the_page_on_faults_names_are_there() -> None:
    page = (CHECKOUT / "docs" / "chaos.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `([a-z0-9_/]+/test_[^`:]+)(?:::([a-z_0-9]+))?` \|", page)
    assert len(named) > 30
    for file, test in named:
        text = (CHECKOUT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, f"{file}::{test}"
