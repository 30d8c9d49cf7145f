"""One task: all of it, its attempts, and what may be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from pgsched.db.queries.dashboard import find_said_options
from pgsched.db.queries.tasks import LEVELS
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.records import Execution, HandlerInfo, Task
from pgsched.domain.scheduling.preview import noted
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.validation import RULES
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.dashboard.durable import find_run
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
"""What may be done to a task, and how a button says it."""

router = APIRouter()


@router.get("/tasks/by-key/{key}")
async def task_by_key(actor: Viewer, key: str) -> Response:
    """Lead to the task that has an idempotency key; it is quoted in the path."""
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
    """Show one task; of a durable one the latest run or the one that began at ``run``, up to so many of its steps.

    ``logs`` and ``attempts`` are where a page of older ones begins; ``level`` chooses log lines.
    """
    began_at, until = moment("run", run) if run else None, optional_number("steps", steps)
    async with actor.client.transaction() as client:  # of one connection: waited for once
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
    return show_form(actor, one, fields_of(one), None)


@router.post("/tasks/{id:int}/edit")
async def save(actor: Operator, id: int, form: Form) -> Response:
    """Change a task."""
    one = await actor.client.get(id)
    try:
        options = changes_of(one, form)
        payload = payload_of(form)
        if payload == one.payload:
            payload = None
        if not options and payload is None:
            return done(actor, f"/tasks/{id}", "")
        await update_task(actor, id, payload, options)
    except InvalidTask as error:
        return show_form(actor, one, form, str(error))
    return done(actor, f"/tasks/{id}", "edit", id)


@router.get("/tasks/{id:int}/retry")
async def ask_payload(actor: Operator, id: int) -> Response:
    """Show the payload of a task that is to be tried again, as a form."""
    one = await actor.client.get(id)
    return _retry_form(actor, one, pretty(one.payload), None)


@router.post("/tasks/{id:int}/retry")
async def retry(actor: Operator, id: int, form: Form) -> Response:
    """Give a task all its attempts again, with the payload of the form if there is one and it differs."""
    one = await actor.client.get(id)
    try:
        payload = payload_of(form)
        await act_on_task(actor, "retry", id, payload=None if payload == one.payload else payload)
    except InvalidTask as error:
        return _retry_form(actor, one, form["payload"], str(error))
    return done(actor, f"/tasks/{id}", "retry", id)


@router.post("/tasks/{id:int}/{verb}")
async def change(actor: Operator, id: int, verb: str) -> Response:
    """Do one thing to a task."""
    if verb not in VERBS:
        raise HTTPException(404, "there is no such page")
    if verb == "delete":
        await delete_task(actor, id)
        return done(actor, "/tasks", verb, id)
    afresh = verb == "enable_afresh"
    shown = (await act_on_task(actor, "enable" if afresh else verb, id, catch_up=not afresh)).id
    return done(actor, f"/tasks/{shown}", verb, shown)


def _retry_form(actor: Actor, one: Task, payload: str, problem: str | None) -> Response:
    return show(actor, "retry.html", at="tasks", problem=problem, task=one, payload=payload)


def changes_of(one: Task, form: dict[str, str]) -> TaskOptions:
    """Return what a form changes: fields that hold what the task has are left alone."""
    form, was = with_instants(form, one.timezone), with_instants(fields_of(one))
    changed = {
        name: text
        for name, text in form.items()
        if text.strip() != was.get(name, "").strip() and not (name in TIMES and _same_second(text, was.get(name, "")))
    }
    return options_of(changed, clearing=True)


def _same_second(text: str, was: str) -> bool:
    """Whether a field for a time, which has no more than seconds, still has what it had."""
    if not text.strip() or not was:
        return False
    return datetime.fromisoformat(text).replace(microsecond=0) == datetime.fromisoformat(was).replace(microsecond=0)


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
    """Return what makes sense to do to a task in its status."""
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
    preview: dict[str, Any] | None = None,
    handlers: Sequence[HandlerInfo] = (),
) -> Response:
    """Return the form of a task, or of a new one, which offers the types of ``handlers``."""
    schedule = "new" if one is None else one.schedule_type
    at = "tasks" if schedule == "one_time" else "schedules"
    context: dict[str, Any] = {"task": one, "fields": fields, "schedule": schedule, "preview": preview}
    context["handlers"] = [handler for handler in handlers if handler.retired_at is None]
    return show(actor, "task_form.html", at=at, problem=problem, **context)
