"""Tools that change nothing."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pgsched.web.mcp.rest import Rest, part
from pgsched.web.mcp.tool import Cursor, Id, Limit, Tool, tool

_LISTED: Final = (
    "id,task_type,task_name,queue,status,schedule_type,enabled,priority,next_run_at,attempts,max_attempts,last_error,"
    "idempotency_key,concurrency_key,depends_on,waiting_for,created_at,expires_at,died_at,cron_expression,timezone,"
    "locked_by"
)
_LOG_LINES: Final = 30

Within = Annotated[str, Field(description='The time until now, as "15m", "24h" or "7d".')]
Queue = Annotated[str | None, Field(description="Only of this queue.")]
Type = Annotated[str | None, Field(description="Only of this task type.")]
Contains = Annotated[str, Field(description="Only those whose name contains this text.")]


@tool(title="Find tasks")
async def find_tasks(
    rest: Rest,
    query: Annotated[
        str,
        Field(
            description='Terms that all must fit: "status:dead type:bill", "queue:mail created_after:24h", '
            '"key:invoice-7", "id:17", "error:timeout", "payload.order = 50123", or words to look for anywhere. '
            "Statuses are pending, running, blocked, completed, dead and cancelled; several are status:dead,cancelled. "
            "Other terms: tag, tenant, user, by, name, parent, depends_on, worker, concurrency_key, enabled:no, "
            "schedule:recurring, priority, due_before, started_after, ended_after. Empty: all tasks."
        ),
    ] = "",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Any:
    """Find tasks and schedules, the latest first, by pgsched's search language. A page may be short, even empty, while
    next_cursor is there: go on with it.
    """
    return await rest.get("/tasks", q=query or None, limit=limit, cursor=cursor, fields=_LISTED)


@tool(title="Show a task")
async def show_task(rest: Rest, id: Id) -> Any:
    """Show everything about one task or schedule: its columns, the last attempts with their errors, the next runs,
    ticks that were missed, the tail of its handler's log, and what it waits for. Use it before any change.
    """
    task = await rest.get(f"/tasks/{id}")
    task["log_tail"] = await rest.get(f"/tasks/{id}/logs", limit=_LOG_LINES)
    task["why"] = await rest.get(f"/tasks/{id}/why")
    return task


@tool(title="List attempts")
async def list_attempts(
    rest: Rest,
    queue: Queue = None,
    task_type: Type = None,
    status: Annotated[str | None, Field(description="Only attempts that ended so, as failed, lost or snoozed.")] = None,
    within: Within = "1h",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Any:
    """List attempts at all tasks, the latest first: when each began and ended, how, on which worker, with what
    error.
    """
    return await rest.get(
        "/executions", queue=queue, task_type=task_type, status=status, within=within, limit=limit, cursor=cursor
    )


@tool(title="Why a task is waiting")
async def explain_waiting(rest: Rest, id: Id) -> Any:
    """Explain why one task does not run: a paused queue, a limit, a missing worker or handler, a task that it depends
    on, a backoff, and so on, in the order in which the reasons have to go, each with what ends it.
    """
    return await rest.get(f"/tasks/{id}/why")


@tool(title="Why a queue is waiting")
async def explain_queue(rest: Rest, name: Annotated[str, Field(description="The name of the queue.")]) -> Any:
    """Explain why the tasks of one queue do not run, and forecast when its backlog is drained."""
    return await rest.get(f"/queues/{part(name)}/why")


@tool(title="List errors")
async def list_errors(
    rest: Rest, task_type: Type = None, queue: Queue = None, within: Within = "24h", limit: Limit = 20
) -> Any:
    """List what attempts failed with, grouped by type, exception and message: how often, since which version of the
    code, and how many tasks are dead of it. Workers count once a minute; the last minute may be missing.
    """
    return await rest.get("/errors", task_type=task_type, queue=queue, within=within, limit=limit)


@tool(title="Show an error")
async def show_error(
    rest: Rest, id: Annotated[str, Field(description="The id of an error, of list_errors.")], within: Within = "90d"
) -> Any:
    """Show one group of errors, with example tasks."""
    return await rest.get(f"/errors/{part(id)}", within=within)


@tool(title="List dead letters")
async def list_dead(
    rest: Rest, queue: Queue = None, task_type: Type = None, limit: Limit = 20, cursor: Cursor = None
) -> Any:
    """List the tasks that failed for good, by when they died, the latest first."""
    return await rest.get("/dead", queue=queue, task_type=task_type, limit=limit, cursor=cursor, fields=_LISTED)


@tool(title="List task types")
async def list_types(
    rest: Rest,
    contains: Contains = "",
    schemas: Annotated[bool, Field(description="Also show the JSON Schemas of payload and result.")] = False,
    within: Within = "24h",
) -> Any:
    """List the task types: which are registered, by which version of the code, how many workers have a handler, their
    defaults, and throughput, failures and times of each.
    """
    handlers, counted = await asyncio.gather(rest.get("/handlers"), rest.get("/types", within=within))
    handlers = [one for one in handlers if contains in one["task_type"]]
    counted = [one for one in counted if contains in one["task_type"]]
    if not schemas:
        for one in handlers:
            one.pop("payload_schema", None)
            one.pop("result_schema", None)
    return {"registered": handlers, "counted": counted}


@tool(title="List deployments")
async def list_deployments(rest: Rest, task_type: Type = None, within: Within = "7d") -> Any:
    """List when each version of the code became the newest one, with the types that came with it."""
    return await rest.get("/deployments", task_type=task_type, within=within)


@tool(title="List queues")
async def list_queues(rest: Rest, contains: Contains = "") -> Any:
    """List the queues: paused or not, limits, how many tasks are pending, due, running and dead, and the age of the
    oldest due task.
    """
    return [one for one in await rest.get("/queues") if contains in one["name"]]


@tool(title="List workers")
async def list_workers(rest: Rest) -> Any:
    """List the worker processes: alive or silent, paused or draining, the queues and task types that each serves,
    slots, version of the code, and troubles.
    """
    return await rest.get("/workers")


@tool(title="List schedules")
async def list_schedules(
    rest: Rest,
    state: Annotated[Literal["all", "enabled", "disabled"], Field(description="Which of them.")] = "all",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Any:
    """List recurring and repeating tasks: expression, time zone, next run, enabled or disabled, the latest first."""
    query = "schedule:recurring,repeating" + {"all": "", "enabled": " enabled:yes", "disabled": " enabled:no"}[state]
    return await rest.get("/tasks", q=query, limit=limit, cursor=cursor, fields=_LISTED)


@tool(title="Preview a schedule")
async def preview_schedule(
    rest: Rest,
    cron: Annotated[str | None, Field(description='A cron expression, as "0 8 * * mon-fri".')] = None,
    every: Annotated[str | None, Field(description='Instead of it an interval, as "15m".')] = None,
    timezone: Annotated[str, Field(description="An IANA time zone.")] = "UTC",
    after: Annotated[str | None, Field(description="The ticks after this time, ISO 8601; now if left out.")] = None,
    ticks: Annotated[int, Field(ge=1, le=50, description="The number of ticks, 1 to 50.")] = 5,
) -> Any:
    """Say in words what a schedule would do, and its next ticks in UTC and on the wall clock, with changes of the
    clocks. Makes nothing.
    """
    return await rest.get("/schedules/preview", cron=cron, every=every, timezone=timezone, after=after, n=ticks)


@tool(title="List what runs next")
async def list_upcoming(
    rest: Rest,
    within: Annotated[str, Field(description='How far to look ahead, as "24h".')] = "24h",
    queue: Queue = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Any:
    """List what will run from now on, the first one first. What is due already, waits for others or is paused is not in
    it.
    """
    return await rest.get("/upcoming", within=within, queue=queue, limit=limit, cursor=cursor, fields=_LISTED)


@tool(title="Run the doctor")
async def run_doctor(rest: Rest) -> Any:
    """Look for everything that is wrong with the queue and its database: indexes, locks, old transactions, workers,
    stalled schedules, and so on. Each finding has a severity, an object, a problem and an advice. Start here. The
    answer may be half a minute old.
    """
    found = await rest.get("/doctor")
    found["checks"] = {one["check"]: one["state"] for one in found["checks"] if one["state"] != "ok"}
    return found


@tool(title="Show an overview")
async def show_overview(rest: Rest) -> Any:
    """Show counts of tasks by status, the queues, the workers, due tasks that nobody handles, and the settings."""
    stats, settings = await asyncio.gather(rest.get("/stats"), rest.get("/settings"))
    return {**stats, "settings": settings}


@tool(title="List the audit log", operator=True)
async def list_audit(
    rest: Rest,
    task_id: Annotated[int | None, Field(description="Only of this task.")] = None,
    actor: Annotated[str | None, Field(description="Only by this actor.")] = None,
    action: Annotated[str | None, Field(description='Only this action, as "task.cancel", or a kind: "queue".')] = None,
    queue: Queue = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Any:
    """List changes that people and programs made by the dashboard, the REST API and these tools, the latest first."""
    return await rest.get(
        "/audit", task_id=task_id, actor=actor, action=action, queue=queue, limit=limit, cursor=cursor
    )


LOOKING: Final[tuple[Tool, ...]] = (
    show_overview, run_doctor, find_tasks, show_task, explain_waiting, explain_queue, list_attempts, list_errors,
    show_error, list_dead, list_types, list_deployments, list_queues, list_workers, list_schedules, preview_schedule,
    list_upcoming, list_audit,
)  # fmt: skip
