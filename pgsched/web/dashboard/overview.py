"""The first page: throughput, and what needs attention now."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from starlette.responses import Response

from pgsched.web.auth.access import Actor, Viewer
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import show
from pgsched.web.formats import count
from pgsched.web.services.copied import why_no_worker_starts
from pgsched.web.services.history import Ended, History, Minutes
from pgsched.web.services.surveys import Survey
from pgsched.web.svg.charts import Series, stacked_bars

PATIENCE = 1.0
"""Seconds that the page waits for the full health checks; their result appears later."""
LEVELS = {"error": "bad", "warning": "odd"}
"""The doctor's severities that the page shows, the worst first."""
MOST_SHOWN = 50
PLACES = {
    "no_worker": "/workers",
    "unserved_queues": "/workers",
    "unknown_types": "/workers",
    "silent_workers": "/workers",
    "stalled_schedules": "/schedules",
    "paused_queues": "/queues",
    "growing_backlogs": "/queues",
    "idle_workers": "/workers",
    "dead_letters": "/dead",
}
"""The page with details of a check's findings; the doctor page for any other check."""

router = page_router()


class Problem(NamedTuple):
    """A current problem, and the page with its details."""

    level: str
    text: str
    path: str = "/doctor"


@router.get("/")
async def overview(actor: Viewer) -> Response:
    """Show throughput, failures, queues, workers, and problems."""
    surveys = actor.state.surveys
    survey = await surveys.get()
    minutes = await surveys.history.minutes()
    ended = surveys.history.by_queue()
    rows = queue_rows(survey)
    return show(
        actor,
        "overview.html",
        at="overview",
        copied=await why_no_worker_starts(actor.client),
        problems=await problems_of(actor, survey),
        queues=[row | {"ended": ended.get(row["name"], Ended())} for row in rows],
        workers=[worker for worker in survey.workers if worker.alive],
        about_rows=survey.about_rows,
        totals=totals_of(minutes),
        oldest=max((queue.oldest_due_seconds or 0.0 for queue in survey.queues if not queue.paused), default=0.0),
        due=sum(row["due"] for row in rows),
        running=sum(row["running"] for row in rows),
        dead=sum(survey.dead.values()),
        chart=chart_of(minutes),
        hour=History.MINUTES,
    )


async def problems_of(actor: Actor, survey: Survey) -> list[Problem]:
    """Return the findings, the worst first: those of the survey's checks, and the others from the last full check."""
    notes, earlier = [], []
    if actor.client.database.standby:
        text = "This is a standby: it is read-only, and workers are known only on the primary."
        notes.append(Problem(level="odd", text=text, path="/workers"))
    try:
        async with asyncio.timeout(PATIENCE):
            earlier = [finding.as_dict() for finding in (await actor.state.diagnosis.get()).findings]
    except TimeoutError:
        notes.append(Problem(level="odd", text="The health checks have not finished yet."))
    found = survey.diagnosis.with_earlier(earlier)
    problems = [
        Problem(level=level, text=f"{one['object']}: {one['problem']}.", path=PLACES.get(one["check"], "/doctor"))
        for severity, level in LEVELS.items()
        for one in found
        if one["severity"] == severity
    ]
    problems += at_rest(survey, {(one["check"], one["object"]) for one in found if one["severity"] in LEVELS})
    if len(problems) > MOST_SHOWN:
        notes.append(Problem(level="bad", text=f"{len(problems) - MOST_SHOWN} more."))
    return problems[:MOST_SHOWN] + notes


def at_rest(survey: Survey, known: Container[tuple[str, str]]) -> list[Problem]:
    """Return the problems that only a person resolves, whatever their age: paused queues and dead letters."""
    problems = [
        Problem("odd", f"{queue.name}: paused, {count(queue.ready)} ready.", PLACES["paused_queues"])
        for queue in survey.queues
        if queue.paused and queue.ready and ("paused_queues", queue.name) not in known
    ]
    if dead := sum(survey.dead.values()):
        problems.append(Problem("odd", f"{count(dead)} dead letter{'' if dead == 1 else 's'}.", PLACES["dead_letters"]))
    return problems


def queue_rows(survey: Survey, others: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return each queue with its due, running and dead tasks: used queues, those with dead letters, and others."""
    running: Counter[str] = Counter()
    for one in survey.types:
        running[one.queue] += one.running
    queues = {queue.name: queue for queue in survey.queues}
    return [
        {
            "queue": queue,
            "name": name,
            "due": max(queue.ready - running[name], 0) if queue else 0,
            "running": running[name] if queue else 0,
            "dead": survey.dead.get(name, 0),
        }
        for name in dict.fromkeys([*queues, *survey.dead, *others])
        for queue in [queues.get(name)]
    ]


def totals_of(minutes: Minutes) -> dict[str, float]:
    """Return the totals of the hour."""
    ended = sum(sum(bucket.values()) for bucket in minutes.values())
    well = sum(bucket.get("completed", 0) for bucket in minutes.values())
    full = sorted(minutes)[-6:-1]
    rate = sum(sum(minutes[at].values()) for at in full) / (60 * max(len(full), 1))
    return {"ended": ended, "failed": ended - well, "rate": rate}


def chart_of(minutes: Minutes) -> Any:
    """Return the chart of the hour."""
    times: list[datetime] = sorted(minutes)
    if len(times) > 1 and times[-1] - times[0] > timedelta(minutes=History.MINUTES):
        times = times[-History.MINUTES :]
    series = [
        Series(name="completed", css="bar-completed", values=[minutes[at].get("completed", 0) for at in times]),
        Series(
            name="failed",
            css="bar-failed",
            values=[sum(n for word, n in minutes[at].items() if word != "completed") for at in times],
        ),
    ]
    return stacked_bars("Attempts that ended, by minute, over the last hour", times, series)
