"""Durable tasks: the recorded steps of their runs, answers to their waits, restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.durable_pages import RunOfTask, ShownEvent, ShownStep, list_runs, show_mailbox, show_run
from pgsched.domain.durable import MAX_STEPS
from pgsched.domain.durable_records import DurableRun, DurableStep
from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import read_value
from pgsched.domain.records import Task
from pgsched.web.auth.access import Actor, Operator
from pgsched.web.dashboard.forms import Form, Text
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, show
from pgsched.web.services import durable
from pgsched.web.svg.runs import RunTimeline, run_timeline

STEPS, EVENTS, RUNS = 200, 100, 20
"""Maximum numbers of steps, events and runs on a page."""
RESTARTABLE = ("dead", "cancelled", "pending", "blocked")
ANSWERS = {"approve": True, "reject": False}

router = page_router()


class Unanswered(NamedTuple):
    """A wait for an event that has not arrived."""

    step: ShownStep
    key: str
    """The key of events that answer it from a page: the first answer counts."""


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """The content of a durable task's page."""

    run: RunOfTask | None
    """None: nothing is recorded."""
    runs: Sequence[RunOfTask]
    """The latest events."""
    current: DurableRun | None
    """The current run, if it is the one that is shown."""
    timeline: RunTimeline[ShownStep] | None
    to_now: bool
    """Whether the timeline extends to now."""
    number: int
    """Number of recorded steps."""
    earlier: int
    """Number of steps before the ones that are shown."""
    later: bool
    """Whether there are steps after the ones that are shown."""
    awaited: Sequence[ShownStep]
    """The waits for events and children that keep the run blocked."""
    sleeps_until: datetime | None
    unanswered: Sequence[Unanswered]
    """The waits for events that have not been sent."""
    events: Sequence[ShownEvent]
    restartable: bool


async def find_run(client: AsyncClient, task: Task, *, began_at: datetime | None, until: int | None) -> ShownRun | None:
    """Return the records of a task, of its latest run or of the given one; None for a task that is not durable.

    ``until``: the position of the last step to show, unless it is the last one.
    """
    database = client.database
    current = await client.durable_run(task.id)
    runs = await database.run(list_runs(task.id, limit=RUNS))
    events = await database.run(show_mailbox(task.id, limit=EVENTS))
    if current is None and not runs and not events:
        return None
    run = _chosen(current, runs, began_at)
    if run is None or current is None or current.began_at != run.began_at:
        current = None
    steps = [] if run is None else await database.run(show_run(task.id, run.began_at, until=until, limit=STEPS))
    return _shown(task, run, runs, current, steps, events, until=until)


def _chosen(current: DurableRun | None, runs: Sequence[RunOfTask], began_at: datetime | None) -> RunOfTask | None:
    if began_at is not None:
        return next((run for run in runs if run.began_at == began_at), RunOfTask(began_at, 0))
    return RunOfTask(current.began_at, current.tick_number) if current is not None else next(iter(runs), None)


def _shown(
    task: Task,
    run: RunOfTask | None,
    runs: Sequence[RunOfTask],
    current: DurableRun | None,
    steps: Sequence[ShownStep],
    events: Sequence[ShownEvent],
    *,
    until: int | None,
) -> ShownRun:
    over = current is None or task.status in ("completed", "dead", "cancelled")
    number = steps[0].number if steps else 0
    last = number if until is None else min(until, number)
    earlier = max(last - STEPS, 0)
    to_now, timeline = not over and last == number, None
    if run is not None and steps:
        ended_at = (task.died_at or task.completed_at) if over and current is not None else None
        timeline = run_timeline(
            steps,
            began_at=steps[0].started_at if earlier else run.began_at,
            ended_at=ended_at or (datetime.now(UTC) if to_now else steps[-1].started_at),
            over=over,
        )
    waiting = [] if over else [step for step in steps if step.status in ("waiting", "failing")]
    awaits = () if current is None else current.awaits
    asleep = task.status == "pending" and any(step.wakes_at for step in waiting if step.kind in ("sleep", "step"))
    return ShownRun(
        run=run,
        runs=runs,
        current=current,
        timeline=timeline,
        to_now=to_now,
        number=number,
        earlier=earlier,
        later=last < number,
        awaited=[step for step in waiting if _what(step) in awaits],
        sleeps_until=task.next_run_at if asleep else None,
        unanswered=_unanswered(waiting, events) if task.status in ("blocked", "running") else [],
        events=events,
        restartable=current is not None and task.status in RESTARTABLE,
    )


def _what(step: DurableStep) -> str:
    """Return what ends a wait, in the notation of a run."""
    return f"event:{step.name}" if step.kind == "event" else f"child:{step.child_id}"


def _unanswered(waiting: Sequence[ShownStep], events: Sequence[ShownEvent]) -> list[Unanswered]:
    """Return the waits for events, except those whose event has arrived and will be consumed."""
    come = Counter(event.name for event in events if event.consumed_at is None)
    left = []
    for step in waiting:
        if step.kind == "event":
            come[step.name] -= 1
            if come[step.name] < 0:
                left.append(Unanswered(step, f"answer {step.started_at.isoformat()} {step.key}".strip()))
    return left


@router.get("/tasks/{id:int}/emit")
async def event_form(actor: Operator, id: int, name: Text = "") -> Response:
    """Show the form of an event."""
    return await _event_form(actor, id, {"name": name}, None)


@router.post("/tasks/{id:int}/emit")
async def emit(actor: Operator, id: int, form: Form) -> Response:
    """Send an event: an approval, a rejection, or the content of the form."""
    try:
        payload = _answer_of(form) if "answer" in form else _payload_of(form)
        sent = await durable.emit(actor, id, form.get("name", "").strip(), payload, form.get("key") or None)
    except InvalidTask as error:
        return await _event_form(actor, id, form, str(error))
    return done(actor, f"/tasks/{id}", "emit" if sent.is_new else "emit_known", sent.id)


def _answer_of(form: dict[str, str]) -> dict[str, Any]:
    answer, comment = form["answer"], form.get("comment", "").strip()
    if answer not in ANSWERS:
        raise HTTPException(422, f"answer must be one of {', '.join(ANSWERS)}, got {answer[:100]!r}")
    return {"approved": ANSWERS[answer]} | ({"comment": comment} if comment else {})


def _payload_of(form: dict[str, str]) -> Any:
    text = form.get("payload", "").strip()
    return read_value(text, "payload") if text else None


async def _event_form(actor: Actor, id: int, fields: dict[str, str], problem: str | None) -> Response:
    one = await actor.client.get(id)
    run = await actor.client.durable_run(id)
    awaited = [] if run is None else [what.removeprefix("event:") for what in run.awaits if what.startswith("event:")]
    return show(actor, "emit.html", at="tasks", problem=problem, task=one, fields=fields, awaited=awaited)


@router.get("/tasks/{id:int}/restart")
async def ask_restart(actor: Operator, id: int, step: str = "", key: str = "") -> Response:
    """Show the confirmation of a restart, and what happens to its steps."""
    async with actor.client.transaction() as client:
        one = await client.get(id)
        current = await client.durable_run(id)
        steps: list[ShownStep] = []
        if current is not None:
            steps = await client.database.run(show_run(id, current.began_at, until=None, limit=MAX_STEPS, longest=0))
    since = next((one.started_at for one in steps if (one.name, one.key) == (step, key)), None)
    kept = [one for one in steps if since is not None and one.started_at < since]
    forgotten = [one for one in steps if since is None or one.started_at >= since]
    problem = None
    if current is None or one.status not in RESTARTABLE:
        problem = f"task {id} is {one.status} and cannot be restarted" if current else f"task {id} has recorded no step"
    elif step and since is None:
        problem = f"task {id} has recorded no step {step[:100]!r}"
    return show(
        actor,
        "restart.html",
        at="tasks",
        problem=problem,
        task=one,
        step=step,
        key=key,
        kept=[one.title for one in kept],
        forgotten=[one.title for one in forgotten],
        children=[one.child_id for one in forgotten if one.child_id is not None and one.status == "waiting"],
    )


@router.post("/tasks/{id:int}/restart")
async def restart(actor: Operator, id: int, form: Form) -> Response:
    """Restart a run, completely or from a step on."""
    await durable.restart(actor, id, form.get("step") or None, form.get("key", ""))
    return done(actor, f"/tasks/{id}", "restart", id)
