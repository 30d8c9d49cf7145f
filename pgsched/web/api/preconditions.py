"""If-Match: a change is made only of what its author has seen (RFC 9110, 13.1.1).

A tag stands for what an edit may set, not for what workers write; so a run refuses nobody's edit. It is compared in the
database, while the row is locked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Header

from pgsched.domain.validation import refused

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST: Final = re.compile(rf"\s*(?:{_TAG})?(?:\s*,\s*(?:{_TAG})?)*\s*")
_LONGEST: Final = 2_000


class Expected(NamedTuple):
    """What must hold for a change to be made."""

    versions: tuple[str, ...] | None = None
    """The object has one of these versions; None: any."""
    exists: bool = False
    """There is such an object."""


def etag(version: str | None) -> Mapping[str, str]:
    """Return the header with the version of what is answered; none for None."""
    return {} if version is None else {"ETag": f'"{version}"'}


def read_if_match(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The `ETag` that the object was read with: it is changed only if nobody has edited it since, "
            "else the answer is 412. `*`: it must be there. Weak tags never match.",
        ),
    ] = None,
) -> Expected:
    """A dependency: what a request expects. Raises InvalidTask for a header that cannot be read."""
    if if_match is None:
        return Expected()
    if if_match.strip() == "*":
        return Expected(exists=True)
    if len(if_match) > _LONGEST or not _LIST.fullmatch(if_match) or '"' not in if_match:
        raise refused("If-Match", 'be * or entity tags, as "0123456789abcdef"', if_match)
    # Weak tags stay as they are: no version is like one of them.
    return Expected(tuple(one.strip('"') for one in re.findall(_TAG, if_match)), exists=True)


IfMatch = Annotated[Expected, Depends(read_if_match)]
