"""The documentation site: its navigation, sources and versions, and that the check of its links sees broken ones."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.docs_site.links import external_links, faults, malformed
from tools.docs_site.markdown_copies import index
from tools.docs_site.project import DOCS, Project
from tools.docs_site.staging import BadLink, description, title, with_repository_links, with_titles
from tools.docs_site.versions import add_version

PROJECT = Project.read()
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
URL = "https://docs.example/pgsched/"

WriteSite = Callable[..., Path]


# The navigation.


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(PROJECT.pages) == PAGES, "zensical.toml: `nav` must hold every page of docs/ once"


def test_parts_of_the_navigation_say_what_one_wants_to_do() -> None:
    assert list(PROJECT.sections) == ["Home", "Learn", "Guides", "Reference", "Operate", "Understand"]


def test_every_page_has_a_title_of_its_own_and_a_description() -> None:
    texts = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
    titles = [title(text) for text in texts.values()]
    assert len(set(titles)) == len(titles)
    assert [page for page, text in texts.items() if len(description(text).split()) < 3] == []


def test_addresses_of_the_package_take_the_place_of_those_of_the_site(tmp_path: Path) -> None:
    package = tmp_path / "pyproject.toml"
    urls = {"Documentation": "https://docs.ours.example", "Source": "https://forge.ours.example/pgsched"}
    package.write_text("[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items()))
    ours = Project.read(package=package)
    settings = tomllib.loads(ours.config)["project"]
    assert (ours.site_url, ours.repo_url) == ("https://docs.ours.example/", "https://forge.ours.example/pgsched")
    assert (settings["site_url"], settings["repo_url"]) == (ours.site_url, ours.repo_url)
    assert "/example/" not in ours.config


# The sources.


@pytest.mark.parametrize(
    ("link", "staged"),
    [
        ("keys.md#names", "keys.md#names"),
        ("#here", "#here"),
        ("https://www.postgresql.org", "https://www.postgresql.org"),
        ("../README.md#a-first-look", f"{PROJECT.repo_url}/blob/v1/README.md#a-first-look"),
        ("../examples", f"{PROJECT.repo_url}/tree/v1/examples"),
    ],
)
def test_link_out_of_the_folder_leads_to_the_repository(link: str, staged: str) -> None:
    text = with_repository_links(f"[a]({link})\n", PROJECT, revision="v1", page=DOCS / "page.md")
    assert text == f"[a]({staged})\n"


def test_link_in_code_stays_as_it_is() -> None:
    text = "```text\n[a](../README.md)\n```\n"
    assert with_repository_links(text, PROJECT, revision="v1", page=DOCS / "page.md") == text


@pytest.mark.parametrize("link", ["../gone.md", "../../elsewhere.md"])
def test_link_to_no_file_of_the_repository_is_refused(link: str) -> None:
    with pytest.raises(BadLink, match=re.escape(f"page.md: the link {link} leads to no file")):
        with_repository_links(f"[a]({link})", PROJECT, revision="v1", page=DOCS / "page.md")


@pytest.mark.parametrize(
    ("text", "staged"),
    [
        ("[docs/keys.md](keys.md#x)", "[Tasks by their keys](keys.md#x)"),
        ("see docs/keys.md.", "see [Tasks by their keys](keys.md)."),
        ("[its keys](keys.md) in `docs/keys.md`", "[its keys](keys.md) in `docs/keys.md`"),
        ("docs/gone.md", "docs/gone.md"),
    ],
)
def test_name_of_a_file_becomes_the_title_of_its_page(text: str, staged: str) -> None:
    assert with_titles(text) == staged


def test_description_is_the_first_sentences_that_fit_without_markup() -> None:
    text = (
        f"# Title\n\n![a picture](a.png)\n\nA *task* is a [row](sql.md) of\n`tasks`. More follows. {'Too long' * 30}.\n"
    )
    assert description(text) == "A task is a row of tasks. More follows."


def test_index_for_programs_lists_every_page_with_its_address() -> None:
    texts = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
    text = index(PROJECT, texts, url=URL)
    assert text.startswith(f"# {PROJECT.name}\n\n> {PROJECT.description}\n")
    assert [f"{URL}{page}" for page in PROJECT.pages] == re.findall(r"^- \[.+\]\((\S+)\): ", text, re.MULTILINE)


# The check of links.


@pytest.fixture
def site(tmp_path: Path) -> WriteSite:
    """Write a site of two pages, of which the first has a body: ``site('<a href="b.html">b</a>')``."""

    def write(body: str) -> Path:
        (tmp_path / "a.html").write_text(f'<link rel="canonical" href="{URL}a.html"><h1 id="top">A</h1>{body}')
        (tmp_path / "b.html").write_text('<h2 id="there">B</h2>')
        return tmp_path

    return write


@pytest.mark.parametrize(
    "body",
    [
        '<a href="b.html#there">b</a> <a href="#top">up</a> <a href="b.html?q=1">b</a>',
        f'<a href="{URL}b.html">b</a> <a href="https://www.postgresql.org/docs/">theirs</a>',
        '<img src="data:image/png;base64,AA==" alt="">',
    ],
)
def test_site_without_faults_has_none(site: WriteSite, body: str) -> None:
    assert faults(site(body), URL) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="c.html">c</a>', "a.html: c.html leads to no file"),
        ('<a href="b.html#here">b</a>', "a.html: b.html#here leads to no heading"),
        (f'<a href="{URL}c.html">c</a>', f"a.html: {URL}c.html leads to no file"),
        ('<img src="gone.png" alt="a picture">', "a.html: gone.png leads to no file"),
        ('<img src="b.html">', "a.html: the picture b.html has no alt text"),
        (
            '<script src="https://cdn.example/x.js"></script>',
            "a.html: https://cdn.example/x.js is loaded from elsewhere",
        ),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "a.html: //cdn.example/x.css is loaded from elsewhere"),
        ('<a href="https://">nobody</a>', "a.html: https:// names no host"),
        ('<a href="javascript:alert(1)">x</a>', "a.html: javascript:alert(1) has the scheme 'javascript'"),
    ],
)
def test_fault_of_a_site_is_found(site: WriteSite, body: str, fault: str) -> None:
    (found,) = faults(site(body), URL)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "address", ["https://a b.example", "https://example.com:port/", "ftp://example.com", "https:///x"]
)
def test_malformed_address_is_found(address: str) -> None:
    assert malformed(address)


def test_external_links_are_listed(site: WriteSite) -> None:
    folder = site(f'<a href="b.html">b</a><a href="{URL}b.html">b</a><a href="https://example.com/">e</a>')
    assert external_links(folder, URL) == {"https://example.com/"}


# Versions.


def test_versions_stand_side_by_side_and_latest_is_the_newest(tmp_path: Path) -> None:
    built, versions = tmp_path / "site", tmp_path / "versions"
    built.mkdir()
    for version in ("0.9", "0.10", "0.2"):
        (built / "404.html").write_text(version)
        add_version(versions, built, version)
    listed = json.loads((versions / "versions.json").read_text())
    assert [one["version"] for one in listed] == ["0.10", "0.9", "0.2"]
    assert [one["aliases"] for one in listed] == [["latest"], [], []]
    assert (versions / "latest" / "404.html").read_text() == "0.10"
    assert (versions / "404.html").read_text() == "0.10"
    assert 'url=latest/"' in (versions / "index.html").read_text()


def test_version_must_be_numbers_with_dots(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be numbers with dots, such as 1\.2, got 'latest'"):
        add_version(tmp_path, tmp_path, "latest")
