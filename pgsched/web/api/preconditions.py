"""If-Match: a change is made only to the version that its author has seen (RFC 9110, 13.1.1).

A tag covers the fields that an edit may set, not those that workers write; so a run never invalidates an edit. It is
compared in the database, while the row is locked.
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
    """The condition of a change."""

    versions: tuple[str, ...] | None = None
    """The object has one of these versions; None: any."""
    exists: bool = False
    """The object exists."""


def etag(version: str | None) -> Mapping[str, str]:
    """Return the header with the version of the answered object; none for None."""
    return {} if version is None else {"ETag": f'"{version}"'}


def read_if_match(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The `ETag` that the object was read with: it is changed only if it was not edited since, "
            "otherwise the answer is 412. `*`: the object must exist. Weak tags never match.",
        ),
    ] = None,
) -> Expected:
    """A dependency: the condition of a request. Raises InvalidTask for a header that cannot be parsed."""
    if if_match is None:
        return Expected()
    if if_match.strip() == "*":
        return Expected(exists=True)
    if len(if_match) > _LONGEST or not _LIST.fullmatch(if_match) or '"' not in if_match:
        raise refused("If-Match", 'be * or entity tags, such as "0123456789abcdef"', if_match)
    # Weak tags stay as they are: they equal no version.
    return Expected(tuple(one.strip('"') for one in re.findall(_TAG, if_match)), exists=True)


IfMatch = Annotated[Expected, Depends(read_if_match)]
