"""Judgements about tasks, queues, schedules and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgsched.db.queries.dashboard import SAMPLE
from pgsched.db.queries.diagnostics import CAP, FRONT, STUCK_SECONDS
from pgsched.domain.silence import RUNNING, SILENT
from pgsched.ops.doctor.catalogue import Severity
from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Finding
from pgsched.ops.doctor.words import age, many, some_ids, word

PAUSED_SECONDS: Final = 3_600.0
LATE_SECONDS: Final = 10.0
MANY_DEATHS: Final = 10
MOST_ALERTS: Final = 20
"""So many tasks are named, those first that were the first to be in trouble."""
ENOUGH_STARTS: Final = 20
"""Of fewer attempts in an hour no lateness is told."""


def unserved_queues(facts: Facts) -> Iterator[Finding]:
    """Nobody claims from the queue at all."""
    alive = [worker for worker in facts.workers if worker.alive]
    if not alive:
        return  # no_worker says so
    paused = facts.paused
    for queue in sorted({one.queue for one in facts.types if one.due and not one.handled} - paused):
        if not any(worker.serves(queue) for worker in alive):
            number = sum(one.due for one in facts.types if one.queue == queue)
            yield Finding(
                severity="error",
                object=queue,
                problem=f"{many(number, 'task', SAMPLE)} due, and no living worker serves the queue",
                advice=f"pgsched worker --app MODULE:APP --queue {word(queue)}",
            )


def unknown_types(facts: Facts) -> Iterator[Finding]:
    """Somebody claims from the queue, but nothing of this type."""
    alive = [worker for worker in facts.workers if worker.alive]
    paused = facts.paused
    for one in facts.types:
        if one.due and not one.handled and one.queue not in paused and any(w.serves(one.queue) for w in alive):
            yield Finding(
                severity="error",
                object=f"{one.task_type} in {one.queue}",
                problem=f"{many(one.due, 'task', SAMPLE)} due, and no living worker of queue {one.queue} has a handler "
                f"for {one.task_type}",
                advice=f"deploy the handler, or: pgsched task list --type {word(one.task_type)} and cancel them",
            )


def paused_queues(facts: Facts) -> Iterator[Finding]:
    """Somebody paused the queue and forgot it."""
    for queue in facts.queues:
        if queue.paused and (queue.oldest_due_seconds or 0.0) > PAUSED_SECONDS:
            yield Finding(
                severity="warning",
                object=queue.name,
                problem=f"paused, and {many(queue.ready, 'task', CAP - 1)} due in it, the oldest for "
                f"{age(queue.oldest_due_seconds)}",
                advice=f"pgsched queue resume {word(queue.name)}",
            )


def stalled_schedules(facts: Facts) -> Iterator[Finding]:
    """A schedule should have run and did not."""
    for one in facts.front:
        if one.kind == "stalled":
            yield Finding(
                severity="error",
                object=one.queue,
                problem=f"{many(one.number, 'schedule', FRONT)} should have run up to {age(one.seconds)} ago and did "
                f"not: {some_ids(one.ids, one.number)}",
                advice=f"pgsched task show {one.ids[0]}; pgsched worker list: who serves queue {one.queue}?",
            )


def stuck_running(facts: Facts) -> Iterator[Finding]:
    """A lease that ended makes a row claimable: nobody claims."""
    for one in facts.front:
        if one.kind == "stuck":
            resume = f"pgsched queue resume {word(one.queue)}"
            serve = f"pgsched worker --app MODULE:APP --queue {word(one.queue)}"
            yield Finding(
                severity="error",
                object=one.queue,
                problem=f"{many(one.number, 'task', FRONT)} running under a lease that ended over {age(STUCK_SECONDS)} "
                f"ago (up to {age(one.seconds)}), and nobody claims them: {some_ids(one.ids, one.number)}",
                advice=resume if one.paused else serve,
            )


def orphaned(facts: Facts) -> Iterator[Finding]:
    """A worker that was stopped hard; its leases end by themselves."""
    for one in facts.front:
        if one.kind == "orphaned":
            yield Finding(
                severity="warning",
                object=one.queue,
                problem=f"{many(one.number, 'task', FRONT)} held by a worker that is not registered: "
                f"{some_ids(one.ids, one.number)}",
                advice=f"pgsched task show {one.ids[0]}; wait for the end of its lease, or cancel it",
            )


def stuck_blocked(facts: Facts) -> Iterator[Finding]:
    """The end of a task tells those that wait for it; here it did not, as when triggers were off."""
    blocked = facts.blocked
    if blocked.number and blocked.ids:
        cure = (
            f"select pgsched.settle('{{{','.join(map(str, blocked.upstream))}}}');"
            if blocked.upstream
            else f"pgsched task cancel {blocked.ids[0]}; then pgsched task retry {blocked.ids[0]}"
        )
        yield Finding(
            severity="error",
            object="dependencies",
            problem=f"{many(blocked.number, 'task', CAP)} blocked, and all they wait for has ended: "
            f"{some_ids(blocked.ids, blocked.number)}",
            advice=cure,
        )


def silent_tasks(facts: Facts) -> Iterator[Finding]:
    """A task has had no success for as long as it says."""
    return _alerts(facts, SILENT, "error")


def long_runs(facts: Facts) -> Iterator[Finding]:
    """An attempt runs for longer than its task says."""
    return _alerts(facts, RUNNING, "warning")


def _alerts(facts: Facts, kind: str, severity: Severity) -> Iterator[Finding]:
    found = [one for one in facts.alerts if one.kind == kind]
    for one in found[:MOST_ALERTS]:
        yield Finding(
            severity=severity,
            object=f"task {one.task_id} ({one.task_type})",
            problem=f"{one.problem} ({age(one.seconds)} ago)",
            advice=f"pgsched task show {one.row_id}",
        )
    if len(found) > MOST_ALERTS:
        yield Finding(
            severity=severity,
            object="others",
            problem=f"{many(len(found) - MOST_ALERTS, 'more task', CAP)}",
            advice="select * from pgsched.watched_tasks where is_silent or runs_too_long;",
        )


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Tasks fail for good just now."""
    for one in facts.deaths[:20]:
        yield Finding(
            severity="warning" if one.number >= MANY_DEATHS else "hint",
            object=f"{one.task_type} in {one.queue}",
            problem=f"{many(one.number, 'task', CAP)} died in the last hour",
            advice=f"pgsched dead list --queue {word(one.queue)} --type {word(one.task_type)}",
        )


def lost_attempts(facts: Facts) -> Iterator[Finding]:
    """Workers die, or fall silent for longer than a lease."""
    lost = facts.history.lost
    if lost:
        yield Finding(
            severity="warning",
            object="executions",
            problem=f"{many(lost, 'attempt', CAP)} lost in the last hour: the worker died, or was silent for its lease",
            advice="select worker_id, count(*) from pgsched.executions where status = 'lost' and "
            "started_at > now() - interval '1 day' group by 1; then look for kills and crashes",
        )


def late_starts(facts: Facts) -> Iterator[Finding]:
    """Workers do not keep up."""
    hour = facts.history
    if hour.half_late is not None and hour.sampled >= ENOUGH_STARTS and hour.half_late > LATE_SECONDS:
        yield Finding(
            severity="warning",
            object="executions",
            problem=f"half of {many(hour.sampled, 'attempt')} of the last hour began over {age(hour.half_late)} late",
            advice="pgsched queue list: which queue waits? more workers, or pgsched worker --concurrency N",
        )
