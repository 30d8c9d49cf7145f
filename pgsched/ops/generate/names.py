"""Identifiers, comments and texts for generated code: whatever a type is called, what is written stays what it is."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_NAME = 80
MAX_COMMENT = 2_000


def pascal(text: str) -> str:
    """Return a text as an identifier with capitals, as ``OrderPlaced``; of ASCII letters and digits, a letter first.

    Where nothing of it can be kept, the identifier is made of its digest.
    """
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[0].upper() + word[1:] for word in words)[:MAX_NAME]
    if not name:
        return f"T{digest(text)}"
    return name if name[0].isalpha() else f"T{name}"


def digest(text: str) -> str:
    """Eight characters that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def distinct(wanted: Mapping[Key, str], reserved: Collection[str] = ()) -> dict[Key, str]:
    """Return a name for each key: the wanted one, with a digest of the key behind it where it is not the only one.

    A name does not depend on the order of the keys. Case does not tell names apart.
    """
    numbers = Counter(name.lower() for name in wanted.values())
    taken = {name.lower() for name in reserved}
    return {
        key: f"{name}_{digest(repr(key))}" if numbers[name.lower()] > 1 or name.lower() in taken else name
        for key, name in wanted.items()
    }


def comment_lines(text: str | None) -> list[str]:
    """Return the lines of a text for a comment: without characters that end lines or hide what is there."""
    lines = [_plain(line).rstrip() for line in (text or "")[:MAX_COMMENT].splitlines()]
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return kept[:-1] if kept and not kept[-1] else kept


def _plain(text: str) -> str:
    return "".join(" " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else one for one in text)
