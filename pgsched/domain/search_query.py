"""The search language for tasks: terms that must all match, parsed into the filters of lists and formatted again.

::

    #123 type:bill status:dead,cancelled payload.order = 50123 "no luck"

A term is ``#ID``, ``FIELD:VALUE`` (several values separated by commas), ``payload.PATH = VALUE``, or a text that occurs
somewhere in the task. A value with a space, a comma, a colon or a quote is written in double quotes, as in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from pgsched.domain.errors import Described, InvalidTask, InvalidValue
from pgsched.domain.json_text import read_value
from pgsched.domain.task_filters import MOMENTS, NUMBERS, SEVERAL, TaskFilters, check_filter
from pgsched.domain.validation import text as valid_text

LONGEST: Final = 2000
"""Maximum length of a query."""
SHORT: Final[Mapping[str, str]] = {
    "id": "ids",
    "key": "idempotency_key",
    "type": "task_type",
    "schedule": "schedule_type",
    "tenant": "tenant_id",
    "user": "user_id",
    "by": "created_by",
    "parent": "parent_id",
    "worker": "locked_by",
}
"""The short names of filters; all others use their own."""
_LONG: Final = {long: short for short, long in SHORT.items()}
FIELDS: Final[Mapping[str, str]] = {
    **{name: name for name in TaskFilters.__annotations__ if name not in ("query", "text", "label")},
    **SHORT,
}
"""The words before a colon, and the filter of each."""
_LITERALS: Final = {"true": True, "false": False, "null": None}
_PERIODS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGO: Final = re.compile(r"(\d{1,6})([mhdw])")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_PATH: Final = re.compile(rf'payload((?:\.(?:{_STRING}|[^\s.:="]+))+)\s*=\s*({_STRING}|[^\s"]*)', re.DOTALL)
_NAMED: Final = re.compile(rf'([A-Za-z_]+):((?:{_STRING}|[^\s,"]+)(?:,(?:{_STRING}|[^\s,"]+))*)?', re.DOTALL)
_WORD: Final = re.compile(rf'{_STRING}|[^\s"]+', re.DOTALL)
_PART: Final = re.compile(rf'{_STRING}|[^,"]+', re.DOTALL)
_STEP: Final = re.compile(rf'\.({_STRING}|[^\s.:="]+)', re.DOTALL)
_PLAIN: Final = re.compile(r'[^\s,:="#]+')

Moment = datetime | timedelta
"""A time, or how long ago it was."""


class Term(NamedTuple):
    """One condition of a query."""

    text: str
    """The text of the condition."""
    name: str
    """Its filter; ``text`` for a text that occurs in the task."""
    value: Any
    """The value in the filter's form; an object for a payload; for a time possibly how long ago it was."""

    @property
    def number(self) -> int | None:
        """The number that a text consists of, which may also be meant as an id."""
        digits = self.value if self.name == "text" else ""
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def parse_query(query: str) -> list[Term]:
    """Parse a query. Raises InvalidTask, which names the term and the rule."""
    query = valid_text("query", query)
    if len(query) > LONGEST:
        raise InvalidTask(f"must have at most {LONGEST} characters", field="query", value=len(query))
    terms, at = [], 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        found, term = _term_at(query, at)
        end = at + len(found)
        if end < len(query) and not query[end].isspace():
            raise _refused(found + query[end], 'must be followed by a space; a quote in a text is written \\"')
        terms.append(term)
        at = end
    return terms


def filters_of(terms: Iterable[Term], *, now: datetime) -> TaskFilters:
    """Return the filters that the terms stand for. Raises InvalidTask for two terms that one filter cannot combine."""
    filters: dict[str, Any] = {}
    for term in terms:
        name, value = term.name, term.value
        if name == "text":
            filters.setdefault("text", []).append(value)
        elif name == "payload" and isinstance(value, Mapping):
            _merge(filters.setdefault("payload", {}), value, term.text)
        elif name in filters:
            both = f", as {_LONG.get(name, name)}:a,b for either" if name in SEVERAL else ""
            raise _refused(term.text, f"asks for {_LONG.get(name, name)} a second time: it may be given once{both}")
        else:
            filters[name] = _instant(term.text, value, now) if isinstance(value, timedelta) else value
    if "payload" in filters:
        filters["payload"] = json.dumps(filters["payload"], ensure_ascii=False)
    for name, value in filters.items():
        check_filter(name, value)
    return cast(TaskFilters, filters)


def resolved(filters: TaskFilters, *, now: datetime) -> TaskFilters:
    """Return the filters with their ``query`` resolved. Raises InvalidTask for a filter that is given twice."""
    query = filters.get("query")
    others = {name: value for name, value in filters.items() if name != "query" and value is not None}
    if query is None:
        return cast(TaskFilters, others)
    found = filters_of(parse_query(query), now=now)
    if twice := sorted(found.keys() & others.keys()):
        raise InvalidTask("must not be given beside a query that asks for it", field=twice[0])
    return cast(TaskFilters, {**others, **found})


def write_query(filters: TaskFilters) -> str:
    """Return filters as an equivalent query. Filters that only programs use (``label``) cannot be written."""
    return " ".join(_written(filters))


def quoted(value: str) -> str:
    """Return a text in the form of a query: in quotes where it needs them."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _written(filters: TaskFilters) -> Iterable[str]:
    for name, value in filters.items():
        if value is None:
            continue
        if name == "text":
            yield from (_free(one) for one in _several(value))
        elif name == "payload":
            payload = read_value(str(value), "payload")
            yield from _paths(payload) if _has_paths(payload) else [f"payload:{json.dumps(str(value))}"]
        else:
            yield f"{_LONG.get(name, name)}:{','.join(_value(one) for one in _several(value))}"


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return quoted(value.isoformat() if isinstance(value, datetime) else str(value))


def _free(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text.startswith("payload.") else quoted(text)


def _has_paths(payload: Any) -> bool:
    """Whether an object consists only of paths to plain values."""
    if isinstance(payload, dict):
        return bool(payload) and all(map(_has_paths, payload.values()))
    return not isinstance(payload, list)


def _paths(value: Any, path: str = "payload") -> Iterable[str]:
    if not isinstance(value, dict):
        yield f"{path} = {json.dumps(value, ensure_ascii=False)}"
        return
    for key, inside in value.items():
        step = key if re.fullmatch(r'[^\s.:="]+', key) else json.dumps(key, ensure_ascii=False)
        yield from _paths(inside, f"{path}.{step}")


# Parsing.


def _term_at(query: str, at: int) -> tuple[str, Term]:
    """Parse the term that begins here; also returns its text."""
    if path := _PATH.match(query, at):
        return path[0], Term(path[0], "payload", _payload(path))
    if re.match(r"payload\.", query[at:]):
        raise _refused(
            _rest(query, at), 'must have a path and a value, as payload.order = 50123 or payload.name = "Ada"'
        )
    if query[at] == "#":
        reference = _rest(query, at)
        return reference, Term(reference, "ids", [_checked(reference, "ids", _whole(reference, reference[1:]))])
    if named := _NAMED.match(query, at):
        return named[0], _named(named[0], named[1], named[2] or "")
    if word := _WORD.match(query, at):
        text = _unquoted(word[0], word[0])
        if ":" in word[0] and word[0][0] != '"':
            raise _refused(word[0], "must have the name of a field before its colon, or stand in double quotes")
        if not text:
            raise _refused(word[0], "must have a text between its quotes")
        return word[0], Term(word[0], "text", text)
    raise _refused(_rest(query, at), "must end with a double quote")


def _rest(query: str, at: int) -> str:
    return query[at:].split(None, 1)[0]


def _named(term: str, word: str, values: str) -> Term:
    name = FIELDS.get(word.lower())
    if name is None:
        known = ", ".join(sorted(_LONG.get(one, one) for one in set(FIELDS.values())))
        raise _refused(term, f"must begin with one of {known}; a text with a colon stands in double quotes")
    if not values:
        raise _refused(term, "must have a value behind its colon, without a space between")
    parts = _PART.findall(values)
    if len(parts) > 1 and name not in SEVERAL:
        raise _refused(term, "must have one value; a comma in it stands in double quotes")
    read = [_read(term, name, _unquoted(term, part)) for part in parts]
    value = read if name in SEVERAL else read[0]
    if name == "payload":
        payload = read_value(str(value), "payload")
        if not isinstance(payload, dict):
            raise _refused(term, "must be a JSON object in quotes, or a path as payload.order = 50123")
        return Term(term, name, payload)
    return Term(term, name, value if isinstance(value, timedelta) else _checked(term, name, value))


def _read(term: str, name: str, text: str) -> Any:
    if name in NUMBERS:
        return _whole(term, text.removeprefix("#") if name != "priority" else text)
    if name in MOMENTS:
        return _moment(term, text)
    if name == "enabled":
        if text not in ("yes", "no"):
            raise _refused(term, "must be yes or no")
        return text == "yes"
    return text


def _whole(term: str, text: str) -> int:
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        raise _refused(term, "must have a whole number of at most 19 digits")
    return int(text)


def _moment(term: str, text: str) -> Moment:
    if ago := _AGO.fullmatch(text):
        return int(ago[1]) * _PERIODS[ago[2]]
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refused(
            term, "must have a time as 2030-01-31 or 2030-01-31T12:00 (UTC), or how long ago as 24h or 7d"
        ) from None


def _instant(term: str, ago: timedelta, now: datetime) -> datetime:
    try:
        return now - ago
    except OverflowError:
        raise _refused(term, "must not be before the year 1") from None


def _payload(path: re.Match[str]) -> dict[str, Any]:
    text, term = path[2], path[0]
    value: Any
    if text.startswith('"'):
        value = _unquoted(term, text)
    elif text in _LITERALS:
        value = _LITERALS[text]
    elif _NUMBER.fullmatch(text):
        value = read_value(text, "payload")
    else:
        raise _refused(term, "must have a number, true, false, null, or a text in double quotes behind its =")
    for step in reversed(_STEP.findall(path[1])):
        value = {_unquoted(term, step): value}
    return cast(dict[str, Any], value)


def _merge(into: dict[str, Any], more: Mapping[str, Any], term: str) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value, term)
        elif key in into and into[key] != value:
            raise _refused(term, "asks for another value of what a term before it asks for")
        else:
            into[key] = value


def _unquoted(term: str, text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return valid_text("query", json.loads(text, strict=False))
    except (ValueError, InvalidTask):
        raise _refused(
            term, 'must be text in double quotes as JSON has it: \\" for a quote, \\\\ for a backslash'
        ) from None


def _checked(term: str, name: str, value: Any) -> Any:
    try:
        check_filter(name, value)
    except InvalidValue as error:
        raise _refused(term, error.rule) from None
    return value


def _refused(term: str, rule: str) -> InvalidTask:
    term = " ".join(term.split())
    shown = term if len(term) <= 60 else term[:60] + "…"
    return InvalidTask(f"{rule}", field="query", subject=Described(f"the term {shown}"))
