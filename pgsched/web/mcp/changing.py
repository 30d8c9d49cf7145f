"""Tools that change something: for operators, each with a reason that the audit log stores."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from pgsched.web.mcp.rest import Rest, part
from pgsched.web.mcp.tool import Id, Tool, tool

Name = Annotated[str, Field(description="The name of the queue.")]
WorkerId = Annotated[str, Field(description="The id of the worker, from list_workers.")]
DryRun = Annotated[bool, Field(description="True: change nothing, only report the number of tasks.")]


@tool(title="Retry a task", changes=True)
async def retry_task(rest: Rest, id: Id) -> Any:
    """Retry a dead or cancelled task, or one that waits for its backoff, with all its attempts; it is due now."""
    return await rest.post(f"/tasks/{id}/retry")


@tool(title="Retry all dead tasks of an error", changes=True)
async def retry_error(
    rest: Rest, id: Annotated[str, Field(description="The id of an error, from list_errors.")], dry_run: DryRun = True
) -> Any:
    """Retry all dead tasks of one error with all their attempts. A dry run unless dry_run is false."""
    return await rest.post(f"/errors/{part(id)}/retry", {"dry_run": dry_run})


@tool(title="Cancel a task", changes=True, destructive=True)
async def cancel_task(rest: Rest, id: Id) -> Any:
    """Cancel a task or schedule, even while it runs; cancelling a group cancels its steps."""
    return await rest.post(f"/tasks/{id}/cancel")


@tool(title="Run a task now", changes=True, destructive=True)
async def run_task_now(rest: Rest, id: Id) -> Any:
    """Make a waiting one-time task due now; of any other task or schedule a copy runs now, with its id as parent_id."""
    return await rest.post(f"/tasks/{id}/run")


@tool(title="Enable a task or schedule", changes=True)
async def enable_task(
    rest: Rest,
    id: Id,
    catch_up: Annotated[bool, Field(description="False: ticks that passed while it was disabled do not run.")] = True,
) -> Any:
    """Enable a disabled task or schedule."""
    return await rest.post(f"/tasks/{id}/enable", catch_up=str(catch_up).lower())


@tool(title="Disable a task or schedule", changes=True)
async def disable_task(rest: Rest, id: Id) -> Any:
    """Disable a task or schedule until it is enabled again; a current run continues."""
    return await rest.post(f"/tasks/{id}/disable")


@tool(title="Skip the next tick", changes=True, destructive=True)
async def skip_tick(rest: Rest, id: Id) -> Any:
    """Skip the next tick of a schedule; it is recorded as missed."""
    return await rest.post(f"/tasks/{id}/skip")


@tool(title="Pause a queue", changes=True)
async def pause_queue(rest: Rest, name: Name) -> Any:
    """Pause a queue: workers claim no more of its tasks; running tasks continue."""
    return await rest.post(f"/queues/{part(name)}/pause")


@tool(title="Resume a queue", changes=True)
async def resume_queue(rest: Rest, name: Name) -> Any:
    """Resume a paused queue."""
    return await rest.post(f"/queues/{part(name)}/resume")


@tool(title="Pause a worker", changes=True)
async def pause_worker(rest: Rest, id: WorkerId) -> Any:
    """Pause a worker: it claims no more tasks and finishes those it has."""
    return await rest.post(f"/workers/{part(id)}/pause")


@tool(title="Resume a worker", changes=True)
async def resume_worker(rest: Rest, id: WorkerId) -> Any:
    """Resume a paused worker."""
    return await rest.post(f"/workers/{part(id)}/resume")


CHANGING: Final[tuple[Tool, ...]] = (
    retry_task, retry_error, cancel_task, run_task_now, enable_task, disable_task, skip_tick, pause_queue,
    resume_queue, pause_worker, resume_worker,
)  # fmt: skip
