"""A decision procedure such as an agent follows: general questions first, then follow-ups with the ids that it found.

It sees the tools' answers and nothing else, and knows none of the names and ids in them beforehand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.support.agents import Agent

FAR = timedelta(days=730)
SOON_AFTER = timedelta(hours=1)
LIMITS = ("queue_limit", "rate_limit", "key_limit", "key_rate_limit")
OVER_BADLY = ("dead", "cancelled")


class Fault(NamedTuple):
    """What is wrong, and with what."""

    kind: str
    object: str


async def diagnose(agent: Agent) -> list[Fault]:
    """Everything that the procedure finds."""
    found = [
        *(await _doctor(agent)),
        *(await _settings(agent)),
        *(await _queues(agent)),
        *(await _errors(agent)),
        *(await _dead(agent)),
        *(await _blocked(agent)),
        *(await _schedules(agent)),
        *(await _odd_times(agent)),
        *(await _changes(agent)),
    ]
    return list(dict.fromkeys(found))


async def _doctor(agent: Agent) -> list[Fault]:
    found = await agent.call("run_doctor")
    return [Fault(one["check"], one["object"]) for one in found.get("findings", [])]


async def _settings(agent: Agent) -> list[Fault]:
    settings = (await agent.call("show_overview"))["settings"]
    kept = "retention" not in settings and "history_retention" not in settings
    return [Fault("nothing_is_deleted", "settings")] if kept else []


async def _queues(agent: Agent) -> list[Fault]:
    found = []
    for queue in await agent.call("list_queues"):
        if queue["paused"] and queue["pending"]:
            found.append(Fault("queue_paused", queue["name"]))
        elif queue.get("limits") and queue["due"]:
            async for task in _tasks(agent, f'queue:"{queue["name"]}" status:pending due_before:0m'):
                why = await agent.call("explain_waiting", id=task["id"])
                kinds = [one["kind"] for one in why.get("reasons", []) if one["kind"] in LIMITS]
                found += [Fault(kind, queue["name"]) for kind in kinds]
    return found


async def _errors(agent: Agent) -> list[Fault]:
    """Errors that began soon after a version of the code did, and that tasks died of."""
    found = []
    deployments = await agent.call("list_deployments")
    for error in await agent.call("list_errors"):
        shown = await agent.call("show_error", id=error["id"])
        for kind in shown["task_types"]:
            if not (await agent.call("list_dead", task_type=kind)).get("items"):
                continue
            for one in deployments:
                late = _time(shown["first_seen"]) - _time(one["at"])
                if kind in one["task_types"] and timedelta() <= late <= SOON_AFTER:
                    found.append(Fault("dead_since_deployment", f"{kind} {one['version']}"))
    return found


async def _dead(agent: Agent) -> list[Fault]:
    dead = await agent.call("list_dead", limit=100)
    keys = [one["idempotency_key"] for one in dead.get("items", []) if "idempotency_key" in one]
    return [Fault("key_held_by_dead_task", key) for key in keys]


async def _blocked(agent: Agent) -> list[Fault]:
    found = []
    async for task in _tasks(agent, "status:blocked"):
        if task["task_type"] == "pgsched.group":
            steps = await agent.call("find_tasks", query=f"parent:{task['id']} status:dead")
            found += [Fault("group_held_by_dead_step", str(task["id"]))] * bool(steps.get("items"))
            continue
        why = await agent.call("explain_waiting", id=task["id"])
        for reason in why.get("reasons", []):
            for other in reason.get("task_ids", []) if reason["kind"] == "blocked_by" else []:
                status = (await agent.call("show_task", id=other))["status"]
                found += [Fault("waits_for_dead_task", str(task["id"]))] * (status in OVER_BADLY)
    return found


async def _schedules(agent: Agent) -> list[Fault]:
    found = []
    async for task in _pages(agent, "list_schedules"):
        if not task["enabled"]:
            found.append(Fault("schedule_disabled", str(task["id"])))
            continue
        missed = (await agent.call("show_task", id=task["id"])).get("missed_ticks")
        found += [Fault("ticks_missed", f"{task['id']} in {task['timezone']}")] * bool(missed)
    return found


async def _odd_times(agent: Agent) -> list[Fault]:
    far = (datetime.now(UTC) + FAR).strftime("%Y-%m-%d")
    late = [
        Fault("due_in_far_future", str(one["id"]))
        async for one in _tasks(agent, f"schedule:one_time status:pending due_after:{far}")
    ]
    expired = [Fault("expired", str(one["id"])) async for one in _tasks(agent, 'status:cancelled error:"expired: "')]
    return late + expired


async def _changes(agent: Agent) -> list[Fault]:
    if "list_audit" not in await agent.tools():
        return []
    noted = (await agent.call("list_audit", action="queue")).get("items", [])
    return [Fault("queue_changed", f"{one['queue']} by {one['actor']}") for one in noted if "limit" in one["action"]]


def _tasks(agent: Agent, query: str) -> AsyncIterator[dict[str, Any]]:
    return _pages(agent, "find_tasks", query=query)


async def _pages(agent: Agent, name: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    while True:
        page = await agent.call(name, **arguments, limit=50, **({} if cursor is None else {"cursor": cursor}))
        for one in page.get("items", []):
            yield one
        cursor = page.get("next_cursor")
        if cursor is None:
            return


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
