"""The first page: what happens, and what is wrong now."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.db.page_commands import SAMPLE, QueueSurvey, TableSurvey, TypeSurvey
from pgsched.domain.records import Task, WorkerInfo
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.history import Ended, History, Minutes
from pgsched.web.dashboard.shown import show
from pgsched.web.dashboard.surveys import surveys_of
from pgsched.web.state import state_of
from pgsched.web.svg.charts import Series, stacked_bars

DEAD_ROWS_MATTER = 10_000
"""So many dead rows of the table are worth a word, when they are more than :data:`DEAD_SHARE` of it."""
DEAD_SHARE = 0.5
SAID = {
    "no_worker",
    "unknown_types",
    "unserved_queues",
    "silent_workers",
    "stalled_schedules",
    "paused_queues",
    "dead_letters",
    "old_transactions",
}
"""Checks of the doctor whose findings the overview says in words of its own."""
PATIENCE = 1.0
"""So many seconds the page waits for the doctor; later it is there."""
OLD_SNAPSHOT = 600.0
"""A transaction that is open so many seconds keeps dead rows from being removed."""

router = APIRouter()


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is wrong now."""

    level: str
    """``bad`` or ``odd``."""
    text: str
    path: str
    """Where more is seen."""


@router.get("/")
async def overview(request: Request, actor: Viewer) -> Response:
    """Show throughput, failures, queues, workers, and what is wrong."""
    surveys = surveys_of(request)
    queues, types, dead, table, stalled, workers = await surveys.get()
    minutes = await surveys.history.minutes()
    ended = surveys.history.by_queue()
    rows = queue_rows(queues, types, dead)
    return show(
        request,
        actor,
        "overview.html",
        at="overview",
        problems=[
            *problems_of(
                queues, types, dead, table, stalled, workers, standby=state_of(request).client.database.standby
            ),
            *await findings_of(request),
        ],
        queues=[row | {"ended": ended.get(row["name"], Ended())} for row in rows],
        workers=[worker for worker in workers if worker.alive],
        table=table,
        totals=totals_of(minutes),
        oldest=max((queue.oldest_due_seconds or 0.0 for queue in queues if not queue.paused), default=0.0),
        due=sum(row["due"] for row in rows),
        running=sum(row["running"] for row in rows),
        dead=sum(dead.values()),
        chart=chart_of(minutes),
        hour=History.MINUTES,
    )


def problems_of(
    queues: Sequence[QueueSurvey],
    types: Sequence[TypeSurvey],
    dead: dict[str, int],
    table: TableSurvey,
    stalled: Sequence[Task],
    workers: Sequence[WorkerInfo],
    *,
    standby: bool = False,
) -> list[Problem]:
    """Return what is wrong now, the worst first; on a standby nothing is known of workers."""
    found = []
    if standby:
        text = "This is a standby: nothing can be changed here, and workers are not known."
        found.append(Problem(level="odd", text=text, path="/workers"))
        types = [replace(one, handled=True) for one in types]
    paused = {queue.name for queue in queues if queue.paused}
    waiting = [one for one in types if one.due and not one.handled and one.queue not in paused]
    if waiting and not any(worker.alive for worker in workers):
        found.append(Problem(level="bad", text="Tasks are due and no worker is alive.", path="/workers"))
    found += [
        Problem(
            level="bad",
            text=f"No live worker of queue {one.queue} has a handler for {one.task_type}: {_due(one.due)} due.",
            path="/workers",
        )
        for one in waiting[:20]
    ]
    silent = [worker for worker in workers if not worker.alive]
    if silent:
        found.append(Problem(level="bad", text=f"{_many(len(silent), 'worker')} went silent.", path="/workers"))
    if stalled:
        found.append(
            Problem(
                level="bad",
                text=f"{_many(len(stalled), 'schedule')} stalled: due for over two minutes, and nobody runs it.",
                path="/schedules",
            )
        )
    if number := sum(dead.values()):
        found.append(Problem(level="bad", text=f"{_many(number, 'dead letter')}.", path="/dead"))
    if table.dead_rows > DEAD_ROWS_MATTER and table.dead_rows > DEAD_SHARE * max(table.live_rows, 1):
        text = f"{table.dead_rows:,} dead rows in the table, beside {table.live_rows:,} live ones: is vacuum kept away?"
        found.append(Problem(level="odd", text=text, path="/"))
    if table.oldest_snapshot > OLD_SNAPSHOT:
        text = (
            f"A transaction has been open for {table.oldest_snapshot / 60:,.0f} minutes: dead rows stay until it ends."
        )
        found.append(Problem(level="odd", text=text, path="/"))
    if paused:
        found.append(Problem(level="odd", text=f"{_many(len(paused), 'queue')} paused.", path="/queues"))
    return found


async def findings_of(request: Request) -> list[Problem]:
    """Return what the doctor finds and :func:`problems_of` does not say; the page does not wait long for it."""
    try:
        async with asyncio.timeout(PATIENCE):
            diagnosis = await state_of(request).diagnosis.get()
    except TimeoutError:
        return [Problem(level="odd", text="The doctor has not finished its look yet.", path="/doctor")]
    levels = {"error": "bad", "warning": "odd"}
    return [
        Problem(level=levels[one.severity], text=f"{one.object}: {one.problem}.", path="/doctor")
        for one in diagnosis.findings
        if one.severity in levels and one.check not in SAID and (one.check, one.object) != ("dead_rows", "tasks")
    ]


def queue_rows(
    queues: Sequence[QueueSurvey], types: Sequence[TypeSurvey], dead: dict[str, int]
) -> list[dict[str, Any]]:
    """Return each queue with what is due, runs and is dead in it."""
    running: dict[str, int] = defaultdict(int)
    for one in types:
        running[one.queue] += one.running
    known = {queue.name for queue in queues}
    rows: list[dict[str, Any]] = [
        {
            "queue": queue,
            "name": queue.name,
            "due": max(queue.ready - running[queue.name], 0),
            "running": running[queue.name],
            "dead": dead.get(queue.name, 0),
        }
        for queue in queues
    ]
    gone = [
        {"queue": None, "name": name, "due": 0, "running": 0, "dead": dead[name]} for name in dead if name not in known
    ]
    return [{**row, "at": at} for at, row in enumerate(rows + gone)]


def totals_of(minutes: Minutes) -> dict[str, float]:
    """Return what the hour adds up to."""
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


def _due(number: int) -> str:
    return f"{SAMPLE:,} or more" if number >= SAMPLE else f"{number:,}"


def _many(number: int, noun: str) -> str:
    shown = "10,000+" if number > 10_000 else f"{number:,}"
    return f"{shown} {noun}" if number == 1 else f"{shown} {noun}s"
