"""Why the tasks of a queue wait: it is paused, a limit is reached, or no worker takes them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

from pgsched.domain.waiting.backlog import Forecast
from pgsched.domain.waiting.facts import Fleet, QueueFacts, is_active
from pgsched.domain.waiting.reasons import Reason, WhyQueue, reason


def judge_queue(
    queue: QueueFacts,
    fleet: Fleet,
    unhandled: Sequence[str],
    *,
    due: int,
    due_is_capped: bool,
    oldest_due_at: datetime | None,
    forecast: Forecast,
) -> WhyQueue:
    """Return why the tasks of a queue wait. ``unhandled``: types of due tasks that none of its workers handles."""
    reasons = [*of_queue(queue), *of_limits(queue), *of_workers(fleet)]
    if fleet.serving and unhandled:
        reasons += _no_handler(fleet, unhandled)
    if not reasons and fleet.free <= 0:
        command = _start(queue.name)
        reasons.append(
            reason("slots_full", "All slots of its workers are taken.", workers=fleet.claiming, command=command)
        )
    ready = f"Nothing keeps its tasks: {due:,} are due." if due else "Nothing is due."
    return WhyQueue(
        queue=queue.name,
        is_ready=not reasons,
        summary=reasons[0].text if reasons else ready,
        reasons=reasons,
        due=due,
        due_is_capped=due_is_capped,
        oldest_due_at=oldest_due_at,
        forecast=forecast,
    )


def of_queue(queue: QueueFacts) -> Iterator[Reason]:
    """A queue that is paused."""
    if queue.paused:
        by = f" by {queue.paused_by}" if queue.paused_by else ""
        text = f"Queue {queue.name} is paused{by}."
        command = f"pgsched queue resume {shlex.quote(queue.name)}"
        yield reason("queue_paused", text, since=queue.paused_at, command=command)


def of_limits(queue: QueueFacts, *, cost: int = 1, key: str | None = None) -> Iterator[Reason]:
    """Reached limits of a queue, and of a ``key`` when one is given."""
    command = f"pgsched queue limit {shlex.quote(queue.name)} …"
    used, limit = queue.concurrency_used, queue.concurrency
    if limit is not None and used >= limit:
        text = f"Queue {queue.name} is at its limit: {used} of {limit} tasks run at once."
        yield reason("queue_limit", text, tasks=queue.holders, command=command)
    if queue.rate is not None and queue.rate_used + min(cost, queue.rate) > queue.rate:
        text = f"Queue {queue.name} is at its rate: {queue.rate_used} of {queue.rate} starts in {queue.per}."
        yield reason("rate_limit", text, until=queue.rate_again_at, command=command)
    if key is None:
        return
    used, limit = queue.key_used, queue.concurrency_per_key
    if limit is not None and used >= limit:
        text = f"Its concurrency key is at its limit: {used} of {limit} tasks with the key {key!r} run at once."
        yield reason("key_limit", text, tasks=queue.key_holders, command=command)
    per_key = queue.rate_per_key
    if per_key is not None and queue.key_rate_used + min(cost, per_key) > per_key:
        text = (
            f"Its concurrency key is at its rate: {queue.key_rate_used} of {per_key} starts in {queue.per} "
            f"with the key {key!r}."
        )
        yield reason("key_rate_limit", text, until=queue.key_rate_again_at, command=command)


def of_workers(fleet: Fleet) -> Iterator[Reason]:
    """Workers that do not exist, have no handler, or do not claim."""
    if not fleet.serving:
        text = f"No worker that is online serves queue {fleet.queue}."
        yield reason("no_worker", text, command=_start(fleet.queue))
    elif not fleet.able:
        assert fleet.task_type is not None  # noqa: S101 - a worker that serves the queue is able to run any type
        yield from _no_handler(fleet, [fleet.task_type])
    elif not fleet.claiming:
        idle = [one for one in fleet.able if not is_active(one)]
        if idle:
            what = "draining" if all(one.state == "draining" for one in idle) else "paused"
            text = f"Every worker that could take it is {what}."
            command = f"pgsched worker resume {idle[0].id}"
            yield reason("workers_paused", text, workers=idle, since=idle[0].requested_at, command=command)
        else:
            trouble = next(one for one in fleet.able[0].troubles if one.stops)
            text = f"Every worker that could take it is held up: {trouble.kind.replace('_', ' ')}."
            yield reason("worker_troubles", text, workers=fleet.able, since=trouble.since, command="pgsched doctor")


def _no_handler(fleet: Fleet, task_types: Sequence[str]) -> Iterator[Reason]:
    named = ", ".join(task_types[:5]) + (" and others" if len(task_types) > 5 else "")
    text = f"No worker of queue {fleet.queue} that is online has a handler for {named}."
    yield reason("no_handler", text, workers=fleet.serving, command=_start(fleet.queue))


def _start(queue: str) -> str:
    return f"pgsched worker --app MODULE:APP --queue {shlex.quote(queue)}"
