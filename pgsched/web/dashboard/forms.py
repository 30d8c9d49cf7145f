"""Forms: fields as text, parsed into options of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from pydantic import StringConstraints
from starlette.exceptions import HTTPException

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import read_object
from pgsched.domain.scheduled import OnConflict, conflict_rule
from pgsched.domain.scheduling.time_zones import load_zone, readings
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.unique import Unique
from pgsched.domain.validation import RULES, refused

MAX_FORM = 4 * 1024 * 1024
"""Maximum size of a form in bytes: a payload of 1 MiB, each byte encoded as three."""
MAX_FIELDS = 1_000
TIMES = ("at", "expires_at", "start", "end")
"""The options that are times."""


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; a longer body than our form can have is not read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise HTTPException(415, f"the form must be application/x-www-form-urlencoded, got {kind[:100]!r}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise HTTPException(413, f"the form must have at most {MAX_FORM} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise InvalidTask(f"the form must be UTF-8 text of at most {MAX_FIELDS} fields") from None


Form = Annotated[dict[str, str], Depends(read_form)]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]
"""A parameter of the query."""


def given(fields: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the fields that are filled in."""
    return {name: text for name in names if (text := fields.get(name, "").strip())}


def payload_of(form: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the payload of a form; None when the field is missing or empty."""
    text = form.get("payload", "").strip()
    return read_object(text, "payload") if text else None


def options_of(form: dict[str, str], *, clearing: bool = False) -> TaskOptions:
    """Return the options of a form. Raises InvalidTask, naming field, rule and value.

    With ``clearing`` an empty field clears its column, where a column may be empty; otherwise the default applies.
    """
    form = with_instants(form)
    options: dict[str, Any] = {}
    for name, read in _READ_AS.items():
        text = form.get(name, "").strip()
        if text:
            options[name] = read(name, text)
        elif clearing and name in form and RULES[name].may_be_empty:
            options[name] = None
    for name, read in _LISTS.items():
        if name in form and (clearing or form[name].strip()):
            options[name] = [read(name, one.strip()) for one in form[name].split(",") if one.strip()]
    return cast(TaskOptions, options)


def unique_of(form: dict[str, str]) -> Unique | None:
    """Return the uniqueness rule of a form; None when it has none. Raises InvalidTask."""
    told = given(form, "within", "debounce", "max_wait")
    by = [one.strip() for one in form.get("unique_by", "").split(",") if one.strip()]
    if not told and not by:
        return None
    return Unique(by=by or None, **told)


def conflict_of(form: dict[str, str]) -> OnConflict:
    """Return what happens to an existing task. Raises InvalidTask."""
    return cast(OnConflict, conflict_rule(form.get("on_conflict", "").strip() or "return"))


def whole_number(name: str, text: str) -> int:
    """Parse an integer. Raises InvalidTask."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise refused(name, "be a whole number", text)
    return int(text)


def number(name: str, text: str) -> float:
    """Parse a number. Raises InvalidTask."""
    try:
        return float(text)
    except ValueError:
        raise refused(name, "be a number", text) from None


def optional_number(name: str, text: str | None) -> int | None:
    """Parse an integer; None for an empty field. Raises InvalidTask."""
    return whole_number(name, text.strip()) if text and text.strip() else None


def moment(name: str, text: str, timezone: str = "UTC") -> datetime:
    """Parse a time; without an offset it is local time of ``timezone``, the first of two. Raises InvalidTask."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
        first, second = readings(at, load_zone(timezone))
    except (ValueError, OverflowError):
        raise refused(name, "be a time such as 2030-01-31T12:00", text) from None
    if first > second:
        raise refused(name, f"exist in {timezone}, where the clocks skip it", text)
    return first


def comes_twice(text: str, timezone: str) -> bool:
    """Return whether a time without an offset occurs twice in ``timezone``."""
    at = datetime.fromisoformat(text)
    first, second = readings(at, load_zone(timezone)) if at.tzinfo is None else (at, at)
    return first < second


def with_instants(form: Mapping[str, str], timezone: str = "UTC") -> dict[str, str]:
    """Return a form with offsets added to its times. The bounds of a schedule are local times of its zone.

    ``timezone``: the zone when the form has no field for it. Raises InvalidTask.
    """
    zone = form.get("timezone", timezone).strip() or "UTC"
    return dict(form) | {
        name: moment(name, text, zone if name in ("start", "end") else "UTC").isoformat()
        for name, text in given(form, *TIMES).items()
    }


def yes_or_no(name: str, text: str) -> bool:
    """Parse a yes or no. Raises InvalidTask."""
    if text not in ("yes", "no"):
        raise refused(name, "be yes or no", text)
    return text == "yes"


_TEXTS = (
    "name", "queue", "timezone", "cron", "every", "backoff", "backoff_delay", "backoff_max", "timeout", "on_missed",
    "overlap", "jitter", "catchup_window", "tenant_id", "user_id", "concurrency_key", "alert_if_no_success_for",
    "alert_if_running_for", "dependency_mode", "on_dependency_dead", "idempotency_key",
)  # fmt: skip
_READ_AS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    **dict.fromkeys(_TEXTS, lambda _name, text: text),
    **dict.fromkeys(("priority", "max_attempts", "times"), whole_number),
    **dict.fromkeys(("backoff_factor", "backoff_jitter"), number),
    **dict.fromkeys(TIMES, moment),
}
"""The options that forms have a field for, and the parser of its text; the parser names the rule."""
_LISTS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "tags": lambda _name, text: text,
    "depends_on": whole_number,
}
"""The options that are lists, separated by commas, and the parser of one value."""
OPTIONS = (*_READ_AS, *_LISTS)
"""The options of a task that forms have a field for."""
