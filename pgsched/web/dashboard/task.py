"""One task: all its data, its attempts, and its actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from pgsched.db.queries.dashboard import find_said_options
from pgsched.db.queries.tasks import LEVELS
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import InvalidTask, VersionConflict
from pgsched.domain.interval import Interval
from pgsched.domain.records import AuditEntry, Execution, HandlerInfo, Task
from pgsched.domain.scheduling.preview import noted
from pgsched.domain.validation import RULES
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.durable import find_run
from pgsched.web.dashboard.edits import (
    SEEN,
    TRIES,
    Conflict,
    EditConflict,
    conflict_of,
    merged_or_raise,
    seen_of,
)
from pgsched.web.dashboard.forms import (
    OPTIONS,
    TIMES,
    Form,
    Text,
    moment,
    optional_number,
    options_of,
    payload_of,
    with_instants,
)
from pgsched.web.dashboard.payloads import PayloadPart, filled, part_of, step, typed_payload, with_payload
from pgsched.web.dashboard.payloads import noted as noted_faults
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, link, show
from pgsched.web.formats import duration, insert_text, pretty, span
from pgsched.web.paths import href
from pgsched.web.services.changes import act_on_task, delete_task, update_task
from pgsched.web.svg.charts import Span, timeline

EXECUTIONS = 50
LOG_LINES = 500
_DRAWN = 20
VERBS = {
    "run": "Run now",
    "cancel": "Cancel",
    "disable": "Disable",
    "enable": "Enable",
    "enable_afresh": "Enable, skip missed ticks",
    "skip": "Skip next run",
    "retry": "Retry",
    "delete": "Delete",
}
"""The actions on a task, and the labels of their buttons."""

router = page_router()


@router.get("/tasks/by-key/{key}")
async def task_by_key(actor: Viewer, key: str) -> Response:
    """Redirect to the task with an idempotency key; the key is percent-encoded in the path."""
    id = await actor.client.task_id(unquote(key))
    return RedirectResponse(href(actor.request, f"/tasks/{id}"), status_code=303)


@router.get("/tasks/{id:int}")
async def task(
    actor: Viewer,
    id: int,
    run: Text = "",
    steps: Text = "",
    level: Text = "",
    logs: Text = "",
    attempts: Text = "",
) -> Response:
    """Show one task; for a durable one the latest run or the one that started at ``run``, with a page of its steps.

    ``logs`` and ``attempts`` are the starts of pages of older ones; ``level`` filters log lines.
    """
    began_at, until = moment("run", run) if run else None, optional_number("steps", steps)
    async with actor.client.transaction() as client:  # On one connection: waited for once.
        status = await client.status(id, limit=EXECUTIONS)
        executions = await client.executions(id, limit=EXECUTIONS, cursor=attempts or None)
        lines = await client.logs(id, limit=LOG_LINES, level=level or None, cursor=logs or None)
        why = await client.why(id) if status.task.status in ("pending", "blocked") else None
        one = status.task
        said = await client.database.run(find_said_options(one.task_type, one.queue))
        durable = await find_run(client, one, began_at=began_at, until=until)
    shown = {"level": level, "run": run, "steps": steps}
    path, running = f"/tasks/{id}", status.running
    return show(
        actor,
        "task.html",
        at="tasks",
        task=one,
        why=why,
        elapsed=(datetime.now(UTC) - running.started_at).total_seconds() if running else 0.0,
        executions=executions,
        attempts_before=attempts,
        attempts_older=executions.next_cursor
        and link(actor, path, {**shown, "logs": logs, "attempts": executions.next_cursor}) + "#attempts",
        attempts_latest=link(actor, path, {**shown, "logs": logs}) + "#attempts",
        levels=LEVELS,
        level=level,
        logs_before=logs,
        logs_older=lines.next_cursor
        and link(actor, path, {**shown, "attempts": attempts, "logs": lines.next_cursor}) + "#logs",
        logs_latest=link(actor, path, {**shown, "attempts": attempts}) + "#logs",
        stands=status,
        coming=[noted(at, one.timezone) for at in status.next_runs],
        logs=lines,
        timeline=timeline_of(executions),
        run=durable,
        insert=insert_text(one, said) if actor.sees_payloads else None,
        verbs={verb: VERBS[verb] for verb in verbs_of(one)},
        in_workflow=one.task_type == GROUP or bool(one.depends_on) or one.parent_id is not None,
    )


@router.get("/tasks/{id:int}/edit")
async def edit(actor: Operator, id: int) -> Response:
    """Show the form of a task."""
    one = await actor.client.get(id)
    part = await part_of(actor, one.task_type, {})
    return show_form(actor, one, fields_of(one) | filled(part, one.payload), None, part)


@router.post("/tasks/{id:int}/edit")
async def save(actor: Operator, id: int, form: Form) -> Response:
    """Change a task; changes of others since the form was shown are kept, or shown as conflicts."""
    for tries_left in reversed(range(TRIES)):
        version = await actor.client.version(id)  # Read before the task: so it is never newer than the compared values.
        one = await actor.client.get(id)
        part = await part_of(actor, one.task_type, form)
        try:
            if "step" in form:
                return show_form(actor, one, await step(actor, part, form), None, part)
            return await _save(actor, one, with_payload(form, await typed_payload(actor, part, form)), version)
        except InvalidTask as error:
            return show_form(actor, one, form, noted_faults(part, error), part)
        except EditConflict as error:
            told = await conflict_of(actor, error, task_id=id)
            shown = fields_of(one) | error.merged.changed
            if part.has_fields:
                shown |= filled(part, payload_of(shown) or {})
            return show_form(actor, one, shown, None, part, **told)
        except VersionConflict:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


async def _save(actor: Actor, one: Task, form: dict[str, str], version: str) -> Response:
    changes = merged_or_raise(comparable(form, one.timezone), comparable(fields_of(one)))
    changed = {name: text for name, text in with_instants(form, one.timezone).items() if name in changes}
    options = options_of(changed, clearing=True)
    payload = payload_of(changed)
    if payload == one.payload:
        payload = None
    if not options and payload is None:
        return done(actor, f"/tasks/{one.id}", "")
    await update_task(actor, one.id, payload, options, versions=(version,))
    return done(actor, f"/tasks/{one.id}", "edit", one.id)


@router.get("/tasks/{id:int}/retry")
async def ask_payload(actor: Operator, id: int) -> Response:
    """Show the payload of a task for a retry, as a form."""
    one = await actor.client.get(id)
    part = await part_of(actor, one.task_type, {})
    seen = seen_of({"payload": pretty(one.payload)})
    return _retry_form(actor, one, filled(part, one.payload), None, part, seen=seen)


@router.post("/tasks/{id:int}/retry")
async def retry(actor: Operator, id: int, form: Form) -> Response:
    """Retry a task with all its attempts, with the payload of the form if there is one and it differs."""
    version = await actor.client.version(id)
    one = await actor.client.get(id)
    part = await part_of(actor, one.task_type, form)
    try:
        if "step" in form:
            shown = await step(actor, part, form)
            return _retry_form(actor, one, shown, None, part, seen=form.get(SEEN, ""))
        typed = with_payload(form, await typed_payload(actor, part, form))
        payload = payload_of(merged_or_raise(typed, {"payload": pretty(one.payload)}))
        versions = None if payload is None else (version,)
        await act_on_task(actor, "retry", id, payload=payload, versions=versions)
    except InvalidTask as error:
        return _retry_form(actor, one, form, noted_faults(part, error), part, seen=form.get(SEEN, ""))
    except EditConflict as error:
        told = await conflict_of(actor, error, task_id=id)
        return _retry_form(actor, one, form, None, part, seen=seen_of(error.now), **told)
    return done(actor, f"/tasks/{id}", "retry", id)


@router.post("/tasks/{id:int}/{verb}")
async def change(actor: Operator, id: int, verb: str) -> Response:
    """Perform an action on a task."""
    if verb not in VERBS:
        raise HTTPException(404, "there is no such page")
    if verb == "delete":
        await delete_task(actor, id)
        return done(actor, "/tasks", verb, id)
    afresh = verb == "enable_afresh"
    shown = (await act_on_task(actor, "enable" if afresh else verb, id, catch_up=not afresh)).id
    return done(actor, f"/tasks/{shown}", verb, shown)


def _retry_form(
    actor: Actor,
    one: Task,
    fields: Mapping[str, str],
    problem: str | None,
    part: PayloadPart,
    *,
    seen: str,
    conflicts: Sequence[Conflict] = (),
    changed_by: AuditEntry | None = None,
) -> Response:
    context = {
        "task": one,
        "fields": fields,
        "part": part,
        "seen": seen,
        "conflicts": conflicts,
        "changed_by": changed_by,
    }
    return show(actor, "retry.html", at="tasks", problem=problem, status=409 if conflicts else None, **context)


def comparable(fields: Mapping[str, str], timezone: str = "UTC") -> dict[str, str]:
    """Return the fields of a form for comparison: times to the second, like the form's fields."""
    exact = with_instants(fields, timezone)
    seconds = {name: datetime.fromisoformat(exact[name]) for name in TIMES if exact.get(name, "").strip()}
    return exact | {name: at.astimezone(UTC).replace(microsecond=0).isoformat() for name, at in seconds.items()}


def fields_of(one: Task) -> dict[str, str]:
    """Return the fields of a task's form, as text."""
    at = {"at": one.scheduled_for} if one.schedule_type == "one_time" and one.scheduled_for is not None else {}
    options = {name: getattr(one, RULES[name].parameter) for name in OPTIONS if name != "at"} | at
    texts = {name: _text(value) for name, value in options.items()}
    return texts | {"task_type": one.task_type, "payload": pretty(one.payload)}


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Interval):
        return duration(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def verbs_of(one: Task) -> list[str]:
    """Return the actions that suit a task's status."""
    verbs = []
    if one.status != "running":
        verbs.append("run")
    if one.status in ("pending", "running", "blocked"):
        verbs += ["cancel", "disable" if one.enabled else "enable"]
    if one.status == "pending" and one.schedule_type != "one_time":
        verbs += ["skip"] if one.enabled else ["enable_afresh", "skip"]
    if one.status in ("dead", "cancelled") or (one.status == "pending" and one.attempts):
        verbs.append("retry")
    if one.status != "running":
        verbs.append("delete")
    return verbs


def _named(one: Execution) -> str:
    return f"attempt {one.attempt}" if one.attempt else "uncounted attempt"


def timeline_of(executions: Sequence[Execution]) -> Any:
    """Return the picture of the last attempts that have ended; None without any."""
    ended = [(one, one.finished_at) for one in executions if one.finished_at is not None]
    shown = ended[:_DRAWN][::-1]
    if not shown:
        return None
    first = shown[0][0].started_at
    spans = [
        Span(
            label=f"{_named(one)} · {one.status.replace('_', ' ')} · {span((one.duration_ms or 0) / 1000)}",
            css=f"bar-{one.status}",
            start=(one.started_at - first).total_seconds(),
            end=(finished_at - first).total_seconds(),
        )
        for one, finished_at in shown
    ]
    return timeline("The last attempts, the first on top", spans)


def show_form(
    actor: Actor,
    one: Task | None,
    fields: dict[str, str],
    problem: str | None,
    part: PayloadPart,
    preview: dict[str, Any] | None = None,
    handlers: Sequence[HandlerInfo] = (),
    conflicts: Sequence[Conflict] = (),
    changed_by: AuditEntry | None = None,
) -> Response:
    """Return the form of a task, or of a new one, which offers the types of ``handlers``; ``part`` is its payload.

    With ``conflicts`` it asks whose changes to keep; ``changed_by`` is the last change of the task.
    """
    schedule = "new" if one is None else one.schedule_type
    at = "tasks" if schedule == "one_time" else "schedules"
    context: dict[str, Any] = {"task": one, "fields": fields, "schedule": schedule, "preview": preview, "part": part}
    context["handlers"] = [handler for handler in handlers if handler.retired_at is None]
    # The browser compares with these values: the ones first shown, or after a conflict the stored ones.
    seen = (
        seen_of(comparable(fields_of(one)))
        if one is not None and (conflicts or SEEN not in fields)
        else fields.get(SEEN, "")
    )
    context |= {"seen": seen, "conflicts": conflicts, "changed_by": changed_by}
    status = 409 if conflicts else None
    return show(actor, "task_form.html", at=at, problem=problem, status=status, **context)
