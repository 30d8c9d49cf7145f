"""The life of a row in three pure functions: may this claim run, what follows its outcome, how is it abandoned.

    pending --claim--> running --finish--> completed | dead | pending (a retry, or the next tick)

The caller supplies the time (the database's) and the randomness; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from pgsched.domain.attempt import BACKOFF, BACKOFF_DELAY, BACKOFF_MAX, ON_MISSED, Claimed, Finish, Missed, Outcome
from pgsched.domain.backoff import FACTOR, JITTER, retry_delay
from pgsched.domain.durable import SLEEP, Suspension
from pgsched.domain.errors import InvalidTask
from pgsched.domain.scheduling.recurrence import Schedule, admit, book, due_at, next_after


def is_plain(task: Claimed) -> bool:
    """Whether :func:`judge` would admit the task at any time: a one-time task with attempts left."""
    return task.schedule_type == "one_time" and task.attempts <= task.max_attempts and task.expires_at is None


class Admitted(NamedTuple):
    """A claimed row that is to be run now, and the ticks that were folded into this run."""

    task: Claimed
    missed: tuple[Missed, ...] = ()


class Refused(NamedTuple):
    """A claimed row that this worker must not run now, and what is written instead."""

    finish: Finish


def judge(task: Claimed, now: datetime, *, resumed: bool = False) -> Admitted | Refused:
    """Decide what a worker does with a row it has just claimed.

    A schedule without a tick is released, and the database computes its tick. A row that used up its attempts by losing
    its workers is dead; one whose deadline to start has passed is cancelled. ``on_missed`` applies to the first attempt
    of a tick and to one whose worker was lost. A tick of a schedule that may overlap itself becomes a child.
    ``now`` is the database's time. A durable run that is ``resumed`` started at its tick, however late it continues.
    """
    if is_plain(task):
        return Admitted(task)
    if task.schedule_type == "one_time":
        if task.attempts > task.max_attempts:
            return Refused(_exhausted(task))
        return (
            Admitted(task)
            if task.expires_at is None or now < task.expires_at
            else Refused(_expired(task, task.expires_at))
        )
    tick = task.scheduled_for
    try:
        if tick is None:
            return Refused(_plan(task))
        # A schedule that may overlap itself runs nothing itself, so losing its worker costs it no attempt.
        if task.attempts > task.max_attempts and task.overlap != "allow":
            return Refused(_exhausted(task))
        # The policy was applied to a group that joins its children when it fired.
        measured = not (task.fired or resumed) and (task.attempts == 1 or _is_superseded(task, tick, now))
        verdict = _measure(task, tick, now) if measured else Admitted(task)
        if isinstance(verdict, Admitted) and task.overlap == "allow":
            return Refused(_spawn(verdict.task, verdict.missed))
        return verdict
    except InvalidTask as error:
        return Refused(_plan(task)._replace(next_status="dead", error=str(error)))


def _is_superseded(task: Claimed, tick: datetime, now: datetime) -> bool:
    """Whether the last attempt was lost with its worker and the next tick has come since: nothing ran meanwhile.

    A tick that failed and waited for its backoff is retried however late it is.
    """
    following = next_after(task.schedule, tick, 0) if task.lease_expired else None
    return following is not None and due_at(task.schedule, following) <= now


def _measure(task: Claimed, tick: datetime, now: datetime) -> Admitted | Refused:
    """Apply ``on_missed`` to a tick that is about to make its first attempt."""
    admission = admit(task.schedule, tick, task.next_run_at, now, task.execution_count)
    instead = admission.next_tick if admission.run is None else admission.run
    missed = (Missed(task.on_missed or ON_MISSED, admission.missed, tick, instead),) if admission.missed else ()
    if admission.run is None:
        return Refused(_booked(_plan(task)._replace(missed=missed), task.schedule, admission.next_tick))
    return Admitted(task._replace(scheduled_for=admission.run), missed)


def _spawn(task: Claimed, missed: tuple[Missed, ...]) -> Finish:
    assert task.scheduled_for is not None  # noqa: S101 - judge() planned it
    spawned, schedule = _plan(task)._replace(counted=True, spawned=True, missed=missed), task.schedule
    return _booked(spawned, schedule, next_after(schedule, task.scheduled_for, task.execution_count + 1))


def conclude(
    task: Claimed,
    outcome: Outcome,
    *,
    at: Callable[[float], datetime],
    random: Callable[[], float],
    missed: tuple[Missed, ...] = (),
) -> Finish:
    """Return what is written for an attempt that ended; ``missed`` are the ticks that were folded into it.

    ``at`` converts the outcome's times to the database's; ``random`` returns numbers in [0, 1) and spreads retries.
    """
    if outcome.status == "completed" and task.schedule_type == "one_time" and not outcome.ends:  # kept fast
        done = Finish(
            task.id,
            task.fencing_token,
            "completed",
            True,
            "completed",
            task.scheduled_for,
            True,
            task.attempts,
            outcome.started,
            outcome.finished,
            outcome.result,
            task.queue,
        )
        if outcome.durable_tick:
            done = done._replace(durable_tick=outcome.durable_tick)
        return (
            done if outcome.steps is None else done._replace(plain=False, steps=outcome.steps, revision=task.revision)
        )
    finish = Finish(
        id=task.id,
        fencing_token=task.fencing_token,
        next_status="pending",
        execution="failed" if outcome.status == "discarded" else outcome.status,
        tick=task.scheduled_for,
        attempts=task.attempts,
        revision=task.revision,
        started=outcome.started,
        finished=outcome.finished,
        result=outcome.result,
        error=outcome.error,
        missed=missed,
        steps=outcome.steps,
        durable_tick=outcome.durable_tick,
    )
    if outcome.suspension is not None:
        return _suspended(task, finish, outcome.suspension)
    if outcome.ends:
        attempts = task.attempts if task.schedule_type == "one_time" else 0
        return finish._replace(next_status="completed", counted=True, ends=True, attempts=attempts)
    if outcome.status == "completed":
        return _tick_over(task, finish, at, dead_lettered=False)
    if outcome.status == "snoozed":  # as a retry of an attempt that never happened
        finish = finish._replace(attempts=task.attempts - 1, retry_in=outcome.retry_delay or 0.0)
        return finish if task.schedule_type == "one_time" else finish._replace(next_tick=task.scheduled_for)
    if outcome.status == "discarded" or task.attempts >= task.max_attempts:
        return _tick_over(task, finish, at, dead_lettered=True)
    delay = outcome.retry_delay
    if delay is None:
        first = (task.backoff_delay or BACKOFF_DELAY).seconds
        delay = retry_delay(
            task.backoff or BACKOFF,
            task.attempts,
            first,
            (task.backoff_max or BACKOFF_MAX).seconds,
            random,
            factor=FACTOR if task.backoff_factor is None else task.backoff_factor,
            jitter=JITTER if task.backoff_jitter is None else task.backoff_jitter,
        )
    return finish._replace(retry_in=delay, next_tick=None if task.schedule_type == "one_time" else task.scheduled_for)


def _suspended(task: Claimed, finish: Finish, suspension: Suspension) -> Finish:
    """A sleep of a one-time task sets its due time; a schedule, due at its tick, is blocked instead."""
    if task.schedule_type != "one_time" and suspension.payload is None and not suspension.awaits:
        suspension = suspension._replace(awaits=(SLEEP,))
    status = "blocked" if suspension.awaits else "pending"
    return finish._replace(next_status=status, execution=None, missed=(), suspension=suspension)


def give_up(task: Claimed, outcome: Outcome | None, error: str) -> Finish:
    """Return the end of a task for which nothing else can be written: dead, with no child and no next tick.

    ``outcome`` is that of the attempt; None when there was none.
    """
    finish = _plan(task)._replace(next_status="dead", attempts=task.attempts, error=error)
    if outcome is None:
        return finish
    execution = "failed" if outcome.status in ("discarded", "snoozed") else outcome.status
    return finish._replace(execution=execution, started=outcome.started, finished=outcome.finished)


def _tick_over(task: Claimed, finish: Finish, at: Callable[[float], datetime], *, dead_lettered: bool) -> Finish:
    if task.schedule_type == "one_time":
        return finish._replace(next_status="dead")
    over, schedule = finish._replace(counted=True, dead_lettered=dead_lettered, attempts=0), task.schedule
    if task.scheduled_for is None:  # its tick was still to be computed, and it never ran
        return finish._replace(next_status="dead")
    try:
        started, finished = at(finish.started), at(finish.finished)
        booking = book(schedule, task.scheduled_for, started, finished, task.execution_count + 1)
    except InvalidTask as error:
        return over._replace(next_status="dead", error=f"{finish.error or ''} {error}".strip())
    if booking.overlapped:
        first = next_after(schedule, task.scheduled_for, 0) or task.scheduled_for
        over = over._replace(missed=(*over.missed, Missed("overlap", booking.overlapped, first, booking.next_tick)))
    return _booked(over, schedule, booking.next_tick)


def _booked(finish: Finish, schedule: Schedule, tick: datetime | None) -> Finish:
    if tick is None:
        return finish._replace(next_status="completed")
    jitter = (due_at(schedule, tick) - tick).total_seconds()
    return finish._replace(next_status="pending", next_tick=tick, jitter=jitter)


def _plan(task: Claimed) -> Finish:
    return Finish(task.id, task.fencing_token, "pending", tick=task.scheduled_for, revision=task.revision)


def _expired(task: Claimed, expires_at: datetime) -> Finish:
    """Match how ``pgsched.expire_tasks`` ends a task that no worker claims."""
    error = f"expired: it had not started by {expires_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return _plan(task)._replace(next_status="cancelled", execution="cancelled", error=error)


def _exhausted(task: Claimed) -> Finish:
    error = f"all {task.max_attempts} attempts are used up"
    if task.lease_expired:
        error += "; the last one ended when its worker died or was cut off"
    finish = _plan(task)._replace(error=error, attempts=task.max_attempts)
    if task.schedule_type == "one_time" or task.scheduled_for is None:
        return finish._replace(next_status="dead")
    over, schedule = finish._replace(counted=True, dead_lettered=True, attempts=0), task.schedule
    try:
        return _booked(over, schedule, next_after(schedule, task.scheduled_for, task.execution_count + 1))
    except InvalidTask as problem:
        return over._replace(next_status="dead", error=f"{error}; {problem}")
