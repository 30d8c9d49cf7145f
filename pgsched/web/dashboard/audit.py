"""The audit log: who changed what, and the previous values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.responses import Response

from pgsched.db.queries.audit import AuditPage, list_entries
from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Operator
from pgsched.web.dashboard.forms import Text, given, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import link, show
from pgsched.web.services.audit import CHANGED

PER_PAGE = 50
FIELDS = ("actor", "action", "queue", "task_id")

router = page_router()


class Difference(NamedTuple):
    """One changed value, as text; None: absent."""

    name: str
    was: str | None
    now: str | None


@router.get("/audit")
async def audit(actor: Operator, before: Text = "") -> Response:
    """Show the matching changes, the latest first. For operators: entries contain names and addresses of people."""
    fields = given(actor.request.query_params, *FIELDS)
    found, problem = AuditPage([], None), None
    try:
        command = list_entries(
            task_id=optional_number("task_id", fields.get("task_id")),
            before_id=optional_number("before", before),
            limit=PER_PAGE,
            actor=fields.get("actor"),
            action=fields.get("action"),
            queue=fields.get("queue"),
        )
        found = await actor.client.database.run(command)
    except InvalidTask as error:
        problem = str(error)
    last = found.next_before
    return show(
        actor,
        "audit.html",
        at="audit",
        problem=problem,
        fields=fields,
        entries=[(entry, differences(entry.before, entry.after)) for entry in found.entries],
        following=last and link(actor, "/audit", {**fields, "before": last}),
        looked_on=last is not None and len(found.entries) < PER_PAGE,
        paged=bool(before),
    )


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Difference]:
    """Return the differences, value by value; nested objects are compared key by key."""
    was, now = _flat(before or {}), _flat(after or {})
    found = [Difference(name, was.get(name), now.get(name)) for name in was | now]
    return [
        Difference(one.name, None, one.now) if one.was == one.now == CHANGED else one
        for one in found
        if one.was != one.now or one.was == CHANGED
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = _text(value)
    return found


def _text(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
