"""The live parts of a page: each has a version, and a browser that sends its versions gets the parts that differ.

A part is an element with an id and ``data-live``. The value lists what it depends on: names of tables, ``task:ID``;
without a value it may depend on anything. Parts are not nested.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

HEADER: Final = "X-Live-Parts"
"""The requested parts and the versions of them that the browser has: ``live-head=1f… live-log=``."""
MAX_PARTS: Final = 50

# Values are escaped, so that < and > occur only at the ends of tags.
_OPENING = re.compile(r"<([a-z]+)\s[^<>]*?\bdata-live(?=[\s=>])[^<>]*>")
_ID = re.compile(r'\sid="([^"]+)"')


class Part(NamedTuple):
    """One live part of a page, with its position in the text."""

    id: str
    start: int
    opened: int
    """The position of the ``>`` of its opening tag."""
    end: int
    version: str

    def stamped(self, html: str) -> str:
        """Return its text with its version."""
        return f'{html[self.start : self.opened]} data-version="{self.version}"{html[self.opened : self.end]}'


def parts_of(html: str) -> Iterator[Part]:
    """Yield the live parts of a page."""
    at = 0
    while (opening := _OPENING.search(html, at)) is not None:
        at = opening.end()
        named = _ID.search(opening[0])
        if named is not None:
            at = _end_of(html, opening[1], at)
            digest = hashlib.blake2b(html[opening.start() : at].encode(), digest_size=9)
            yield Part(named[1], opening.start(), opening.end() - 1, at, digest.hexdigest())


def stamp(html: str) -> str:
    """Return a page with the versions of its live parts."""
    pieces, at = [], 0
    for part in parts_of(html):
        pieces += [html[at : part.start], part.stamped(html)]
        at = part.end
    return "".join([*pieces, html[at:]])


def differing(html: str, known: Mapping[str, str]) -> str:
    """Return the known parts of a page whose versions differ; empty when none does."""
    return "".join(part.stamped(html) for part in parts_of(html) if known.get(part.id, part.version) != part.version)


def read_known(header: str) -> dict[str, str]:
    """Parse :data:`HEADER`."""
    pairs = (one.partition("=") for one in header.split()[:MAX_PARTS])
    return {id: version for id, _, version in pairs}


def _end_of(html: str, tag: str, at: int) -> int:
    depth = 1
    for one in re.compile(rf"<(/?){tag}(?=[\s>])[^<>]*>").finditer(html, at):
        depth += -1 if one[1] else 1
        if depth == 0:
            return one.end()
    return len(html)
