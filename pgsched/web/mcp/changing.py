"""Tools that change something: for operators, each with a reason that the audit log keeps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from pgsched.web.mcp.rest import Rest, part
from pgsched.web.mcp.tool import Id, Tool, tool

Name = Annotated[str, Field(description="The name of the queue.")]
WorkerId = Annotated[str, Field(description="The id of the worker, of list_workers.")]
DryRun = Annotated[bool, Field(description="True: change nothing, say how many tasks it would be.")]


@tool(title="Retry a task", changes=True)
async def retry_task(rest: Rest, id: Id) -> Any:
    """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again; it is due now."""
    return await rest.post(f"/tasks/{id}/retry")


@tool(title="Retry all dead tasks of an error", changes=True)
async def retry_error(
    rest: Rest, id: Annotated[str, Field(description="The id of an error, of list_errors.")], dry_run: DryRun = True
) -> Any:
    """Give all dead tasks of one error all their attempts again. A dry run unless dry_run is false."""
    return await rest.post(f"/errors/{part(id)}/retry", {"dry_run": dry_run})


@tool(title="Cancel a task", changes=True, destructive=True)
async def cancel_task(rest: Rest, id: Id) -> Any:
    """Stop a task or schedule for good, also while it runs; of a group its steps, too."""
    return await rest.post(f"/tasks/{id}/cancel")


@tool(title="Run a task now", changes=True, destructive=True)
async def run_task_now(rest: Rest, id: Id) -> Any:
    """Make a waiting one-time task due now; of any other task or schedule a copy runs now, with its id as parent_id."""
    return await rest.post(f"/tasks/{id}/run")


@tool(title="Enable a task or schedule", changes=True)
async def enable_task(
    rest: Rest,
    id: Id,
    catch_up: Annotated[bool, Field(description="False: ticks that passed meanwhile are not run.")] = True,
) -> Any:
    """Let a disabled task or schedule run again."""
    return await rest.post(f"/tasks/{id}/enable", catch_up=str(catch_up).lower())


@tool(title="Disable a task or schedule", changes=True)
async def disable_task(rest: Rest, id: Id) -> Any:
    """Keep a task or schedule from running until it is enabled; a run under way goes on."""
    return await rest.post(f"/tasks/{id}/disable")


@tool(title="Skip the next tick", changes=True, destructive=True)
async def skip_tick(rest: Rest, id: Id) -> Any:
    """Leave out the next tick of a schedule; it is noted as missed."""
    return await rest.post(f"/tasks/{id}/skip")


@tool(title="Pause a queue", changes=True)
async def pause_queue(rest: Rest, name: Name) -> Any:
    """Let workers claim nothing more of a queue; what runs goes on."""
    return await rest.post(f"/queues/{part(name)}/pause")


@tool(title="Resume a queue", changes=True)
async def resume_queue(rest: Rest, name: Name) -> Any:
    """Let workers claim from a paused queue again."""
    return await rest.post(f"/queues/{part(name)}/resume")


@tool(title="Pause a worker", changes=True)
async def pause_worker(rest: Rest, id: WorkerId) -> Any:
    """Let a worker claim nothing more; what it has is run."""
    return await rest.post(f"/workers/{part(id)}/pause")


@tool(title="Resume a worker", changes=True)
async def resume_worker(rest: Rest, id: WorkerId) -> Any:
    """Let a paused worker claim again."""
    return await rest.post(f"/workers/{part(id)}/resume")


CHANGING: Final[tuple[Tool, ...]] = (
    retry_task, retry_error, cancel_task, run_task_now, enable_task, disable_task, skip_tick, pause_queue,
    resume_queue, pause_worker, resume_worker,
)  # fmt: skip
