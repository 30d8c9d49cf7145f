"""A page as a browser reads it: its elements, its words, and what the rules of the dashboard ask of it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

_VOID = {"input", "meta", "link", "br", "img", "hr"}
_FIELDS = {"input", "select", "textarea"}


class Element(NamedTuple):
    """One element; its text is that of everything in it."""

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    """The ids and tags that it stands in."""
    words: list[str]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.unbalanced: list[str] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        self.unbalanced += [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tuple(one.tag for one in self._open)
        element = Element(tag, {name: value or "" for name, value in attrs}, inside, [])
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, (), []))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1].tag == tag:
            self._open.pop()
        else:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    @property
    def text(self) -> str:
        return self.all("html")[0].text if self.all("html") else ""

    def values(self) -> list[str]:
        """Every value of an attribute."""
        return [value for element in self.elements for value in element.attributes.values()]

    def problems(self) -> list[str]:
        """What is against the rules: scripts and styles in the page, fields without labels, ids given twice, ..."""
        found = [f"unbalanced: {tag}" for tag in self.unbalanced]
        ids = [element.attributes["id"] for element in self.elements if "id" in element.attributes]
        found += [f"id given twice: {one}" for one in set(ids) if ids.count(one) > 1]
        labelled = {element.attributes.get("for") for element in self.all("label")}
        for element in self.elements:
            tag, attributes = element.tag, element.attributes
            found += [f"inline: {tag} {name}" for name in attributes if name == "style" or name.startswith("on")]
            if tag == "style" or (tag == "script" and (element.text or not attributes.get("src", "").startswith("/"))):
                found.append(f"inline: {tag}")
            for name in ("href", "src", "action"):
                if not attributes.get(name, "/").startswith(("/", "#")):
                    found.append(f"leads elsewhere: {tag} {name}={attributes[name]}")
            asked = tag in _FIELDS and attributes.get("type") != "hidden"
            if (
                asked
                and not attributes.get("aria-label")
                and attributes.get("id") not in labelled
                and "label" not in element.inside
            ):
                found.append(f"no label: {tag} {attributes.get('name')}")
            if tag in ("button", "a", "summary", "th", "h1", "h2") and not element.text:
                found.append(f"no words: {tag} {attributes}")
            if tag == "svg" and not attributes.get("aria-label") and attributes.get("aria-hidden") != "true":
                found.append("no words: svg")
            for name in ("aria-labelledby", "aria-describedby"):
                if name in attributes and attributes[name] not in ids:
                    found.append(f"{name} of nothing: {attributes[name]}")
        if len(self.all("h1")) != 1 or len(self.all("main")) != 1:
            found.append("a page has one h1 and one main")
        if "lang" not in self.all("html")[0].attributes:
            found.append("html has no lang")
        return found


def form_of(page: Page) -> dict[str, str]:
    """What a browser would send of the sheet on a page."""
    fields = {e.attributes["name"]: e.attributes.get("value", "") for e in page.all("input") if "fieldset" in e.inside}
    fields |= {e.attributes["name"]: "".join(e.words).removeprefix("\n") for e in page.all("textarea")}
    selects = iter(e for e in page.all("select"))
    name = ""
    for element in page.elements:
        if element.tag == "select":
            name = next(selects).attributes["name"]
        elif element.tag == "option" and ("selected" in element.attributes or name not in fields):
            fields[name] = element.attributes.get("value", element.text)
    return fields
