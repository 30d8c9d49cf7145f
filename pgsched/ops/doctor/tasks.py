"""Judgements about tasks, queues, schedules and workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from pgsched.db.queries.dashboard import SAMPLE
from pgsched.db.queries.diagnostics import CAP, FRONT, STUCK_SECONDS
from pgsched.domain.errors import InvalidTimezone
from pgsched.domain.scheduling.time_zones import load_zone
from pgsched.domain.silence import RUNNING, SILENT
from pgsched.domain.waiting.backlog import has_grown
from pgsched.domain.waiting.facts import is_active
from pgsched.ops.doctor.facts import Facts, instants_from, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age, many, some_ids, word

PAUSED_SECONDS: Final = 3_600.0
LATE_SECONDS: Final = 10.0
MANY_DEATHS: Final = 10
MOST_ALERTS: Final = 20
"""Maximum number of tasks to name, those in trouble for the longest first."""
ENOUGH_STARTS: Final = 20
"""Minimum number of attempts in an hour for lateness to be reported."""


def unserved_queues(facts: Facts) -> Iterator[Found]:
    """Tasks are due in a queue that no living worker serves."""
    alive, paused = facts.alive, facts.paused
    if not alive:
        return  # reported by no_worker
    for queue in sorted({one.queue for one in facts.types if one.due and not one.handled} - paused):
        if not any(worker.serves(queue) for worker in alive):
            number = sum(one.due for one in facts.types if one.queue == queue)
            yield Found(
                queue,
                f"{many(number, 'task', SAMPLE)} due, and no living worker serves the queue",
                f"pgsched worker --app MODULE:APP --queue {word(queue)}",
            )


def unknown_types(facts: Facts) -> Iterator[Found]:
    """Tasks are due whose type no living worker of their queue has a handler for."""
    alive, paused = facts.alive, facts.paused
    for one in facts.types:
        if one.due and not one.handled and one.queue not in paused and any(w.serves(one.queue) for w in alive):
            yield Found(
                f"{one.task_type} in {one.queue}",
                f"{many(one.due, 'task', SAMPLE)} due, and no living worker of queue {one.queue} has a handler "
                f"for {one.task_type}",
                f"deploy the handler, or: pgsched task list --type {word(one.task_type)} and cancel them",
            )


def paused_queues(facts: Facts) -> Iterator[Found]:
    """A queue is paused and one of its tasks has been due for an hour."""
    for queue in facts.queues:
        if queue.paused and (queue.oldest_due_seconds or 0.0) > PAUSED_SECONDS:
            yield Found(
                queue.name,
                f"paused, with {many(queue.ready, 'task', CAP - 1)} due in it, the oldest for "
                f"{age(queue.oldest_due_seconds)}",
                f"pgsched queue resume {word(queue.name)}",
            )


def idle_workers(facts: Facts) -> Iterator[Found]:
    """Tasks are due in a queue, and all its workers are paused or draining."""
    for queue in sorted({one.queue for one in facts.types if one.due} - facts.paused):
        serving = [one for one in facts.alive if one.serves(queue)]
        if serving and not any(is_active(one) for one in serving):
            number = sum(one.due for one in facts.types if one.queue == queue)
            by = sorted({one.requested_by for one in serving if one.requested_by})
            yield Found(
                queue,
                f"{many(number, 'task', SAMPLE)} due, and all workers of the queue are paused or draining"
                f"{', requested by ' + ', '.join(by) if by else ''}",
                f"pgsched worker resume {serving[0].id}",
            )


def growing_backlogs(facts: Facts) -> Iterator[Found]:
    """The backlog of a queue has grown for ten minutes, by a tenth and by 100 tasks."""
    paused = facts.paused
    for queue, samples in facts.backlogs.items():
        rate = None if queue in paused else has_grown(samples, facts.now)
        if rate is not None:
            first, last = samples[0], samples[-1]
            yield Found(
                queue,
                f"{many(last.due, 'task')} due, {many(first.due, 'task')} at {first.at:%H:%M} UTC: the backlog grows "
                f"by about {rate:,.0f} a minute",
                f"pgsched queue why {word(queue)}; start more workers, or pgsched worker --concurrency N",
            )


def stalled_schedules(facts: Facts) -> Iterator[Found]:
    """A schedule should have run over a minute ago and did not."""
    for one in of_kind("stalled", facts.front):
        yield Found(
            one.queue,
            f"{many(one.number, 'schedule', FRONT)} should have run up to {age(one.seconds)} ago and did "
            f"not: {some_ids(one.ids, one.number)}",
            f"pgsched task show {one.ids[0]}; pgsched worker list: which workers serve queue {one.queue}?",
        )


def timezones(facts: Facts) -> Iterator[Found]:
    """A schedule's time zone is unknown to PostgreSQL or Python, or they disagree on its offset."""
    # The database's rules apply; if Python has others, previews differ and scheduling the next run costs more.
    for used in facts.zones:
        try:
            zone = load_zone(used.zone)
        except InvalidTimezone:
            problem = "a schedule has this time zone and Python does not know it"
            yield Found(used.zone, problem, "pip install --upgrade tzdata, for all workers", "error")
            continue
        if used.offsets is None:
            problem = "a schedule has this time zone and PostgreSQL does not know it"
            yield Found(
                used.zone, problem, "upgrade PostgreSQL, or the machine's tzdata if PostgreSQL uses it", "error"
            )
            continue
        for at, offset in zip(instants_from(facts.now), used.offsets, strict=True):
            ours = int((at.astimezone(zone).utcoffset() or timedelta()).total_seconds())
            if ours != offset:
                problem = f"on {at:%Y-%m-%d} it is {ours / 3600:+g} h in Python, {offset / 3600:+g} h in PostgreSQL"
                advice = "pip install --upgrade tzdata, and upgrade PostgreSQL: one of them has older rules"
                yield Found(used.zone, problem, advice, "warning")
                break


def stuck_running(facts: Facts) -> Iterator[Found]:
    """Tasks run under a lease that expired over five minutes ago, and no worker claims them."""
    # A row with an expired lease is claimable: no worker is claiming.
    for one in of_kind("stuck", facts.front):
        cure = "pgsched queue resume" if one.paused else "pgsched worker --app MODULE:APP --queue"
        yield Found(
            one.queue,
            f"{many(one.number, 'task', FRONT)} running under a lease that expired over {age(STUCK_SECONDS)} "
            f"ago (up to {age(one.seconds)}), and no worker claims them: {some_ids(one.ids, one.number)}",
            f"{cure} {word(one.queue)}",
        )


def orphaned(facts: Facts) -> Iterator[Found]:
    """Tasks run under a valid lease of a worker that no longer exists."""
    # A worker that was killed; its leases expire by themselves.
    for one in of_kind("orphaned", facts.front):
        yield Found(
            one.queue,
            f"{many(one.number, 'task', FRONT)} held by a worker that is not registered: "
            f"{some_ids(one.ids, one.number)}",
            f"pgsched task show {one.ids[0]}; wait until its lease expires, or cancel it",
        )


def stuck_blocked(facts: Facts) -> Iterator[Found]:
    """Blocked tasks whose dependencies have all ended."""
    # A task that ends unblocks its dependents; here it did not, for example because triggers were off.
    blocked = facts.blocked
    if blocked.number and blocked.ids:
        cure = (
            f"select pgsched.settle('{{{','.join(map(str, blocked.upstream))}}}');"
            if blocked.upstream
            else f"pgsched task cancel {blocked.ids[0]}; then pgsched task retry {blocked.ids[0]}"
        )
        yield Found(
            "dependencies",
            f"{many(blocked.number, 'task', CAP)} blocked although all their dependencies have ended: "
            f"{some_ids(blocked.ids, blocked.number)}",
            cure,
        )


def silent_tasks(facts: Facts) -> Iterator[Found]:
    """A task has had no success for its `alert_if_no_success_for`."""
    return _alerts(facts, SILENT)


def long_runs(facts: Facts) -> Iterator[Found]:
    """An attempt of a task has run for its `alert_if_running_for`."""
    return _alerts(facts, RUNNING)


def _alerts(facts: Facts, kind: str) -> Iterator[Found]:
    found = list(of_kind(kind, facts.alerts))
    for one in found[:MOST_ALERTS]:
        yield Found(
            f"task {one.task_id} ({one.task_type})",
            f"{one.problem} ({age(one.seconds)} ago)",
            f"pgsched task show {one.row_id}",
        )
    if len(found) > MOST_ALERTS:
        yield Found(
            "others",
            f"{many(len(found) - MOST_ALERTS, 'more task', CAP)}",
            "select * from pgsched.watched_tasks where is_silent or runs_too_long;",
        )


def misfits(facts: Facts) -> Iterator[Found]:
    """A payload does not fit the older code of a worker, and its task waits for a worker with newer code."""
    for one in facts.misfits:
        newest = f"version {one.version}" if one.version is not None else f"the code of {one.since[:19]}Z"
        yield Found(
            one.task_type,
            f"task {one.task_id} and maybe others wait for {newest}: they do not fit an older worker's code",
            f"pgsched task show {one.task_id}; replace the workers that have older code",
        )


def durable_runs(facts: Facts) -> Iterator[Found]:
    """A durable handler's code no longer has a step that runs have recorded, or no worker wakes its runs."""
    for one in facts.durable:
        named = f"{many(one.number, 'run', CAP)}: {some_ids(one.ids, one.number)}"
        if one.kind == "unasked":
            yield Found(
                one.task_type,
                f"its code no longer has {', '.join(map(repr, one.names))}, recorded by {named}",
                f"pgsched task show {one.ids[0]}; keep the step in the code until such runs have ended",
            )
        else:
            yield Found(
                one.task_type,
                f"a wait ended more than a minute ago, and no worker has woken {named}",
                "pgsched worker --app MODULE:APP; any worker wakes them",
                severity="error",
            )


def dead_letters(facts: Facts) -> Iterator[Found]:
    """Tasks died in the last hour; ten of them are a warning."""
    for one in facts.deaths[:20]:
        yield Found(
            f"{one.task_type} in {one.queue}",
            f"{many(one.number, 'task', CAP)} died in the last hour",
            f"pgsched dead list --queue {word(one.queue)} --type {word(one.task_type)}",
            severity="warning" if one.number >= MANY_DEATHS else "hint",
        )


def lost_attempts(facts: Facts) -> Iterator[Found]:
    """Attempts of the last hour were lost: their worker died or lost contact."""
    lost = facts.history.lost
    if lost:
        yield Found(
            "executions",
            f"{many(lost, 'attempt', CAP)} lost in the last hour: the worker died, or lost contact for its lease",
            "select worker_id, count(*) from pgsched.executions where status = 'lost' and "
            "started_at > now() - interval '1 day' group by 1; then look for kills and crashes",
        )


def late_starts(facts: Facts) -> Iterator[Found]:
    """Half of the tasks of the last hour started over 10 s late."""
    hour = facts.history
    if hour.half_late is not None and hour.sampled >= ENOUGH_STARTS and hour.half_late > LATE_SECONDS:
        yield Found(
            "executions",
            f"half of {many(hour.sampled, 'attempt')} of the last hour started over {age(hour.half_late)} late",
            "pgsched queue list: which queue waits? start more workers, or pgsched worker --concurrency N",
        )
