"""The life of a row in three pure functions: may this claim run, what follows its outcome, how is it given up.

    pending --claim--> running --finish--> completed | dead | pending (a retry, or the next tick)

The caller brings the time (the database's) and the chance; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from pgsched.backoff import retry_delay
from pgsched.errors import InvalidTask
from pgsched.model import Claimed, Finish, Outcome
from pgsched.schedule import admit, book, first_tick, jitter_seconds, next_after


class Admitted(NamedTuple):
    """A claimed row that is to be run now; ``missed`` earlier ticks were folded into it."""

    task: Claimed
    missed: int


class Refused(NamedTuple):
    """A claimed row that is not to be run: what is written instead, and the ticks that were missed."""

    finish: Finish
    missed: int


def judge(task: Claimed, now: datetime) -> Admitted | Refused:
    """Decide what a worker does with a row it has just claimed.

    A row that used up its attempts by losing its workers is dead. A schedule without a tick is planned. The first
    attempt of a tick is measured against ``on_missed``. ``now`` is the database's time.
    """
    if task.attempts > task.max_attempts:
        return Refused(_exhausted(task), 0)
    if task.schedule_type == "one_time":
        return Admitted(task, 0)
    try:
        if task.scheduled_for is None:
            return Refused(_move_to(task, first_tick(task.schedule, task.planned_from)), 0)
        if task.attempts > 1:
            return Admitted(task, 0)
        admission = admit(task.schedule, task.scheduled_for, now, task.execution_count)
    except InvalidTask as error:
        return Refused(_unplannable(task, error), 0)
    if admission.run is None:
        return Refused(_move_to(task, admission.next_tick), admission.missed)
    return Admitted(task._replace(scheduled_for=admission.run), admission.missed)


def conclude(
    task: Claimed, outcome: Outcome, *, started: datetime, finished: datetime, random: Callable[[], float]
) -> Finish:
    """Return what is written for an attempt that ended.

    ``started`` and ``finished`` are the database's times of the attempt; ``random`` returns numbers in [0, 1) and
    spreads retries.
    """
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
    )
    if outcome.status == "completed":
        return _tick_over(task, finish, started, finished, buried=False)
    if outcome.status == "discarded" or task.attempts >= task.max_attempts:
        return _tick_over(task, finish, started, finished, buried=True)
    delay = outcome.retry_delay
    if delay is None:
        delay = retry_delay(task.backoff, task.attempts, task.backoff_delay.seconds, task.backoff_max.seconds, random)
    return finish._replace(retry_in=delay, next_tick=None if task.schedule_type == "one_time" else task.scheduled_for)


def _tick_over(task: Claimed, finish: Finish, started: datetime, finished: datetime, *, buried: bool) -> Finish:
    if task.schedule_type == "one_time":
        if buried:
            return finish._replace(next_status="dead")
        return finish._replace(next_status="completed", counted=True, plain=True)
    over = finish._replace(counted=True, buried=buried, attempts=0)
    assert task.scheduled_for is not None  # judge() runs no schedule without a tick  # noqa: S101
    try:
        booking = book(task.schedule, task.scheduled_for, started, finished, task.execution_count + 1)
    except InvalidTask as error:
        return over._replace(next_status="dead", error=f"{finish.error or ''} {error}".strip())
    return _booked(over, task, booking.next_tick)


def _booked(finish: Finish, task: Claimed, tick: datetime | None) -> Finish:
    if tick is None:
        return finish._replace(next_status="completed")
    return finish._replace(next_status="pending", next_tick=tick, jitter=jitter_seconds(task.id, tick, task.jitter))


def _plan(task: Claimed) -> Finish:
    return Finish(
        id=task.id,
        fencing_token=task.fencing_token,
        next_status="pending",
        tick=task.scheduled_for,
        revision=task.revision,
    )


def _move_to(task: Claimed, tick: datetime | None) -> Finish:
    return _booked(_plan(task), task, tick)


def _unplannable(task: Claimed, error: InvalidTask) -> Finish:
    return _plan(task)._replace(next_status="dead", error=str(error))


def _exhausted(task: Claimed) -> Finish:
    error = f"all {task.max_attempts} attempts are used up"
    if task.lease_expired:
        error += "; in the last one its worker died or was cut off while it ran"
    finish = _plan(task)._replace(error=error, attempts=task.max_attempts)
    if task.schedule_type == "one_time" or task.scheduled_for is None:
        return finish._replace(next_status="dead")
    over = finish._replace(counted=True, buried=True, attempts=0)
    try:
        return _booked(over, task, next_after(task.schedule, task.scheduled_for, task.execution_count + 1))
    except InvalidTask as problem:
        return over._replace(next_status="dead", error=f"{error}; {problem}")
