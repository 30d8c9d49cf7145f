"""Queues: their state, pause, resume, and all their settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from starlette.responses import Response

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries import dashboard
from pgsched.db.queries.dashboard import QueueSetup
from pgsched.db.queries.queues import ORDERINGS, QueueLimits, QueueOptions, set_defaults, set_queue
from pgsched.db.queries.settings import RETENTION
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.json_text import read_object
from pgsched.domain.records import AuditEntry, Pruned
from pgsched.domain.retention_age import FOREVER, LONGEST
from pgsched.domain.validation import MAX_INTEGER, refused
from pgsched.ops.prune import preview
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.edits import SEEN, Conflict, EditConflict, conflict_of, merged_or_raise, seen_of
from pgsched.web.dashboard.forms import Form, Text, optional_number, yes_or_no
from pgsched.web.dashboard.overview import queue_rows
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, show
from pgsched.web.formats import duration, pretty
from pgsched.web.services import changes

LIMITS = {
    "concurrency": "Maximum number of its tasks running at once.",
    "concurrency_per_key": "Maximum number with the same concurrency key running at once.",
    "rate": "Maximum number of starts per rate period.",
    "rate_per_key": "Maximum number of starts with the same concurrency key per rate period.",
}
"""The limits of a queue with their hints; all apply over all workers."""

KINDS = ("completed", "cancelled", "dead")
"""The tasks that retention deletes."""

OPTIONS = ("ordering", "ageing", *RETENTION)
"""The fields that are options of ``set_queue``."""

router = page_router()


@router.get("/queues")
async def list_(actor: Viewer) -> Response:
    """Show every queue."""
    survey = await actor.state.surveys.get()
    setups = await actor.client.database.run(dashboard.list_queue_settings())
    rows = [
        row | {"setup": setups.get(row["name"], QueueSetup(name=row["name"]))} for row in queue_rows(survey, setups)
    ]
    return show(actor, "queues.html", at="queues", queues=rows)


@router.get("/queues/show")
async def show_queue(actor: Viewer, queue: Text = "") -> Response:
    """Show one queue: why its tasks wait, its backlog, and its workers. The name may contain any character."""
    if not queue:
        raise refused("queue", "have a name", queue)
    why = await actor.client.why_queue(queue)
    survey = await actor.state.surveys.get()
    serving = [one for one in survey.workers if one.serves(queue)]
    return show(actor, "queue.html", at="queues", name=queue, why=why, workers=serving)


@router.get("/queues/settings")
async def settings(actor: Operator, queue: Text = "") -> Response:
    """Show the settings of a queue, which may not exist yet, as a form."""
    if not queue:
        raise refused("queue", "have a name", queue)
    async with actor.client.transaction() as client:
        await client.queue(queue)  # An invalid queue name is rejected.
        setup = await _setup(client, queue)
    fields = fields_of(setup)
    return _form(actor, queue, fields, None, seen=seen_of(fields))


@router.post("/queues/settings")
async def save(actor: Operator, form: Form) -> Response:
    """Change the settings of a queue; its name is a field, since it may contain any character."""
    name = form.get("queue", "")

    async def work(client: AsyncClient) -> None:  # The lock keeps other changes out between reading and writing.
        setup = await _setup(client, name)
        await apply(client, setup, merged_or_raise(form, fields_of(setup)))

    try:
        if form.get("confirmed") != "yes" and (found := await _goes(actor.client, name, form)) is not None:
            return _form(actor, name, form, None, found)
        _, change = await changes.change_queue(actor, "set", name, work)
    except InvalidTask as error:
        return _form(actor, name, form, str(error))
    except EditConflict as error:
        told = await conflict_of(actor, error, queue=name)
        return _form(actor, name, {**error.now, **error.merged.changed}, None, seen=seen_of(error.now), **told)
    return done(actor, "/queues", "" if change.nothing else "queue")


@router.post("/queues/pause")
async def pause(actor: Operator, form: Form) -> Response:
    """Pause a queue."""
    await changes.pause_queue(actor, form.get("queue", ""))
    return done(actor, "/queues", "pause")


@router.post("/queues/resume")
async def resume(actor: Operator, form: Form) -> Response:
    """Resume a paused queue."""
    await changes.resume_queue(actor, form.get("queue", ""))
    task = optional_number("task", form.get("task", ""))
    return done(actor, "/queues" if task is None else f"/tasks/{task}", "resume")


async def apply(client: AsyncClient, setup: QueueSetup, form: dict[str, str]) -> None:
    """Apply the changes of a form; fields with the stored values are left alone. Raises InvalidTask."""
    name, was = setup.name, fields_of(setup)
    changed = _changed(was, form)
    options = {field: option_of(field, text) for field, text in changed.items() if field in OPTIONS}
    if options:
        await client.set_queue(name, **cast(QueueOptions, options))
    if "defaults" in changed:
        await client.database.run(set_defaults(name, read_object(changed["defaults"] or "{}", "defaults")))
    if "events" in changed:
        await client.set_queue_events(name, yes_or_no("events", changed["events"]))
    if changed.keys() & {*LIMITS, "per"}:
        limits = limits_of(was | form)
        if limits:
            await client.limit_queue(name, **limits)
        else:
            await client.unlimit_queue(name)


def _changed(was: dict[str, str], form: dict[str, str]) -> dict[str, str]:
    given = {field: form[field].replace("\r\n", "\n").strip() for field in was if field in form}
    return {field: text for field, text in given.items() if text != was[field]}


def option_of(field: str, text: str) -> str | bool | None:
    """Parse an option of a queue; empty: not set. Raises InvalidTask."""
    if field == "archive" and text:
        if text not in ("no", "yes"):
            raise refused("archive", "be yes, no or empty", text)
        return text == "yes"
    return text if field == "ordering" else text or None


async def _goes(client: AsyncClient, name: str, form: dict[str, str]) -> Pruned | None:
    """Return what workers would delete immediately after the change; None when no new confirmation is needed."""
    changed = merged_or_raise(form, fields_of(await _setup(client, name)))
    options = cast(QueueOptions, {field: option_of(field, changed[field]) for field in RETENTION if field in changed})
    if not options:
        return None
    found = await asyncio.to_thread(preview, await client.database.address(), set_queue(name, options))
    some = any(getattr(one, kind) for one in found.queues for kind in KINDS)
    return found if some or not found.complete else None


def limits_of(form: dict[str, str]) -> QueueLimits:
    """Parse the limits of a form. Raises InvalidTask."""
    given: dict[str, Any] = {name: optional_number(name, form.get(name)) for name in LIMITS}
    given["per"] = form.get("per", "").strip() or None
    return cast(QueueLimits, {name: value for name, value in given.items() if value is not None})


def fields_of(setup: QueueSetup) -> dict[str, str]:
    """Return the fields of the form, as text."""
    return {
        **{name: str(setup.limits.get(name, "")) for name in LIMITS},
        "per": duration(setup.per),
        "ordering": setup.ordering,
        "ageing": duration(setup.ageing),
        "events": "yes" if setup.events else "no",
        "retention": _age(setup.retention),
        "retention_count": _number(setup.retention_count),
        "dead_retention": _age(setup.dead_retention),
        "dead_retention_count": _number(setup.dead_retention_count),
        "defaults": pretty(setup.defaults) if setup.defaults else "",
        "archive": {None: "", True: "yes", False: "no"}[setup.archive],
    }


def _age(interval: Interval | None) -> str:
    if interval == LONGEST:
        return FOREVER
    return duration(interval) or ("" if interval is None else "0s")


def _number(number: int | None) -> str:
    return FOREVER if number == MAX_INTEGER else "" if number is None else str(number)


async def _setup(client: AsyncClient, name: str) -> QueueSetup:
    found = await client.database.run(dashboard.list_queue_settings(name))
    return found.get(name, QueueSetup(name=name))


def _form(
    actor: Actor,
    name: str,
    fields: dict[str, str],
    problem: str | None,
    goes: Pruned | None = None,
    *,
    seen: str | None = None,
    conflicts: Sequence[Conflict] = (),
    changed_by: AuditEntry | None = None,
) -> Response:
    return show(
        actor,
        "queue_form.html",
        at="queues",
        problem=problem,
        name=name,
        fields=fields,
        goes=None if goes is None else {kind: sum(getattr(one, kind) for one in goes.queues) for kind in KINDS},
        more=goes is not None and not goes.complete,
        limits=LIMITS,
        orderings=ORDERINGS,
        seen=fields.get(SEEN, "") if seen is None else seen,
        conflicts=conflicts,
        changed_by=changed_by,
        status=409 if conflicts else None,
    )
