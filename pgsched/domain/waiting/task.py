"""Why a task waits. Each rule is one that a claim follows; the reasons come in the order in which they must go."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pgsched.domain.records import Task
from pgsched.domain.waiting.facts import Ahead, Fleet, QueueFacts, TaskFacts, is_active, is_held_up
from pgsched.domain.waiting.queue import of_limits, of_queue, of_workers
from pgsched.domain.waiting.reasons import OVER, Reason, Why, reason


def judge_task(task: TaskFacts, queue: QueueFacts, fleet: Fleet, ahead: Ahead | None) -> Why:
    """Return why a task waits. ``ahead`` is None when it was not counted because other reasons keep the task."""
    reasons = list(_own(task))
    is_over = bool(reasons) and reasons[0].kind in (*OVER, "running", "held_in_advance")
    if not is_over:
        reasons += of_queue(queue)
        if task.is_claimable:
            reasons += _of_row(task, fleet)
            reasons += of_limits(queue, cost=queue.cost, key=task.concurrency_key)
        reasons += of_workers(fleet)
        if not reasons and ahead is not None:
            reasons += _of_others(task, queue, fleet, ahead)
    placed = ahead if queue.is_one_line else None
    return Why(
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        status=task.status,
        is_ready=not reasons,
        summary=reasons[0].text if reasons else "Nothing keeps it: the next claim of a worker takes it.",
        reasons=reasons,
        ahead=None if placed is None else placed.number,
        ahead_is_capped=placed is not None and placed.is_capped,
    )


def of_departed(task: Task) -> Why:
    """Return that a task which has left the table is over."""
    over = reason(task.status, f"It is {task.status}.", since=task.completed_at)
    return Why(
        task_id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        status=task.status,
        is_ready=False,
        summary=over.text,
        reasons=[over],
        ahead=None,
        ahead_is_capped=False,
    )


def _own(task: TaskFacts) -> Iterator[Reason]:
    """Reasons in the task's own row."""
    command = f"pgsched task {{}} {task.id}"
    if task.status in OVER:
        yield _over(task)
        return
    if task.status == "running" and task.locked_until is not None and task.locked_until >= task.now:
        yield _running(task)
        return
    if not task.enabled:
        yield reason("disabled", "It is disabled.", command=command.format("enable"))
    if task.status == "blocked":
        yield _blocked(task)
        return
    if task.next_run_at is None:
        if task.enabled:
            yield reason("not_due", "It is not due at any time.", command=command.format("show"))
        return
    if task.next_run_at > task.now:
        yield _later(task)


def _over(task: TaskFacts) -> Reason:
    word = {"dead": "dead: all its attempts failed"}.get(task.status, task.status)
    ended = task.schedule_type != "one_time" and task.status == "completed"
    text = "Its schedule has ended: no tick is left." if ended else f"It is {word}."
    command = f"pgsched task retry {task.id}" if task.status in ("dead", "cancelled") else None
    return reason(task.status, text, since=task.ended_at, command=command)


def _running(task: TaskFacts) -> Reason:
    if task.held_in_advance:
        text = "A worker has claimed it in advance and begins it as soon as a slot is free."
        return reason("held_in_advance", text, since=task.started_at)
    text = f"It runs: attempt {task.attempts} of {task.max_attempts}."
    if task.schedule_type != "one_time" and task.overlap == "skip":
        text += " Ticks that come before this one has ended are left out (overlap skip)."
    return reason("running", text, since=task.started_at)


def _blocked(task: TaskFacts) -> Reason:
    if task.is_durable and (task.awaits or task.wakes_at is not None):
        what = ", ".join(_awaited(one) for one in task.awaits) or "a time"
        return reason("durable_wait", f"Its run waits for {what}.", until=task.wakes_at)
    ids = [one.id for one in task.upstream]
    if task.dependency_mode == "each":
        said = f"schedule #{ids[0]}" if ids else "a schedule"
        return reason("following", f"It follows {said}: a child of it runs after each tick.", tasks=ids)
    named = ", ".join(f"#{one.id} ({one.status})" for one in task.upstream)
    more = task.waiting_for - len(ids)
    named += f" and {more} more" if named and more > 0 else ""
    how = "one of " if task.dependency_mode == "any" and task.waiting_for > 1 else ""
    text = f"It waits for {how}{named or f'{task.waiting_for} other tasks'}."
    command = f"pgsched task show {ids[0]}" if ids else f"pgsched task show {task.id}"
    return reason("blocked_by", text, tasks=ids, command=command)


def _awaited(one: str) -> str:
    kind, _, name = one.partition(":")
    return {"event": f"the event {name!r}", "child": f"its child #{name}"}.get(kind, "a time")


def _later(task: TaskFacts) -> Reason:
    until, now = task.next_run_at, f"pgsched task run {task.id}"
    if task.note == "newer_code":
        version = f"version {task.needs_version}" if task.needs_version else "newer code"
        text = f"Its payload does not fit the code of the worker that took it: it waits for a worker with {version}."
        return reason("newer_code", text, until=until)
    if task.note == "failed" and task.attempts:
        text = f"Attempt {task.attempts} of {task.max_attempts} failed: it waits for its backoff."
        return reason("backoff", text, until=until, command=f"pgsched task retry {task.id}")
    if task.note == "snoozed":
        return reason("snoozed", "Its handler put it off.", until=until, command=now)
    if task.is_durable:
        return reason("sleeping", "Its run sleeps.", until=until)
    if task.schedule_type != "one_time":
        return reason("not_before", "Its next tick has not come yet.", until=until, command=now)
    return reason("not_before", "It is scheduled for a later time.", until=until, command=now)


def _of_row(task: TaskFacts, fleet: Fleet) -> Iterator[Reason]:
    """What keeps this row from being claimed, of all that are due."""
    barred = {one.worker_id for one in task.set_aside if one.operation == "claim"}
    able = [one for one in fleet.able if is_active(one) and not is_held_up(one)]
    if barred and all(one.id in barred for one in able):
        first = min(one.since for one in task.set_aside)
        tries = max(one.tries for one in task.set_aside)
        text = f"The database refuses the claim of this row; workers tried {tries} times and try again."
        yield reason("set_aside", text, since=first, workers=able, command=f"pgsched task show {task.id}")
    if task.locked_by_transaction:
        text = "A transaction has locked its row: a worker runs it at this moment, or somebody changes it."
        yield reason("locked", text, command="pgsched doctor --check held_locks")


def _of_others(task: TaskFacts, queue: QueueFacts, fleet: Fleet, ahead: Ahead) -> Iterator[Reason]:
    """The tasks that are claimed before it."""
    number = f"{'more than ' if ahead.is_capped else ''}{ahead.number:,}"
    if fleet.free <= 0:
        text = "All slots of the workers are taken"
        if queue.is_one_line:
            text += f"; {number} tasks are claimed before it." if ahead.number else "; it comes next."
        else:
            text += f"; {number} other tasks are due, too."
        command = f"pgsched worker --app MODULE:APP --queue {shlex.quote(queue.name)}"
        yield reason("slots_full", text, workers=fleet.claiming, command=command)
    elif ahead.number >= min([fleet.free, *_rooms(task, queue)]):
        if queue.is_one_line:
            about = "" if ahead.is_capped else "about "
            yield reason("behind", f"{about}{number} tasks are claimed before it.".capitalize())
        else:
            turns = "tasks age" if queue.has_ageing else "keys take turns"
            yield reason("behind", f"Some of {number} other tasks that are due may be claimed before it: {turns}.")


def _rooms(task: TaskFacts, queue: QueueFacts) -> Iterator[int]:
    """How many more tasks each limit lets start now."""
    if queue.concurrency is not None:
        yield queue.concurrency - queue.concurrency_used
    if queue.rate is not None:
        yield (queue.rate - queue.rate_used) // max(min(queue.cost, queue.rate), 1)
    if task.concurrency_key is None:
        return
    if queue.concurrency_per_key is not None:
        yield queue.concurrency_per_key - queue.key_used
    if queue.rate_per_key is not None:
        yield (queue.rate_per_key - queue.key_rate_used) // max(min(queue.cost, queue.rate_per_key), 1)
