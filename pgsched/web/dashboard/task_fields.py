"""The filter fields above a list of tasks: parsed into filters, and shown as removable chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from pgsched.domain.errors import InvalidTask
from pgsched.domain.search_query import SHORT, parse_query, quoted
from pgsched.domain.task_filters import MOMENTS, NUMBERS, SECRETS, SEVERAL, TaskFilters
from pgsched.web.auth.access import Actor
from pgsched.web.dashboard.forms import moment, whole_number, yes_or_no
from pgsched.web.dashboard.shown import link
from pgsched.web.services.search import visible

_TERMS_ALONE: Final = ("ids", "payload", "text", "label", "query")
FIELDS: Final = ("q", *(name for name in TaskFilters.__annotations__ if name not in _TERMS_ALONE))
"""The fields of the page: a query, and one for each frequent filter."""
DEAD_FIELDS: Final = tuple(name for name in FIELDS if name != "status")
"""The fields of the dead letters."""
_READ_AS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    **dict.fromkeys(NUMBERS, whole_number),
    **dict.fromkeys(MOMENTS, moment),
    "enabled": yes_or_no,
}
_SHORT: Final = {name: short for short, name in SHORT.items()}


class Chip(NamedTuple):
    """One condition of a list."""

    text: str
    href: str
    """The list without it."""


def filters_of(actor: Actor, fields: Mapping[str, str]) -> TaskFilters:
    """Parse a filter. Raises InvalidTask, naming field, rule and value."""
    filters: dict[str, Any] = {}
    for name, text in fields.items():
        if name == "q":
            filters["query"] = text
            continue
        read = _READ_AS.get(name)
        value = read(name, text) if read is not None else text
        filters[name] = [value] if name in SEVERAL else value
    found = visible(actor, cast(TaskFilters, filters))
    if not actor.sees_payloads and (asked := sorted(found.keys() & set(SECRETS))):
        raise InvalidTask("is not available to viewers: payloads and errors are hidden from them", field=asked[0])
    return found


def terms_of(fields: Mapping[str, str]) -> list[str]:
    """Return the fields as terms of the search language. Raises InvalidTask."""
    terms = [term.text for term in parse_query(fields.get("q", ""))]
    return terms + [_term(name, text) for name, text in fields.items() if name != "q"]


def chips_of(actor: Actor, path: str, fields: Mapping[str, str]) -> list[Chip]:
    """Return a chip for each condition of a list. Raises InvalidTask."""
    terms = [term.text for term in parse_query(fields.get("q", ""))]
    chips = []
    for at, text in enumerate(terms):
        others = " ".join(terms[:at] + terms[at + 1 :])
        chips.append(Chip(text, link(actor, path, {**fields, "q": others})))
    for name, text in fields.items():
        if name != "q":
            chips.append(Chip(_term(name, text), link(actor, path, {**fields, name: None})))
    return chips


def _term(name: str, text: str) -> str:
    return f"{_SHORT.get(name, name)}:{quoted(text)}"
