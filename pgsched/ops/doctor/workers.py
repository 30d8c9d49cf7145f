"""Judgements about workers: whether any is there, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pgsched.db.queries.diagnostics import CAP
from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age, many, some_ids

TOLD: Final = {
    "unwritten_outcomes": (
        "a worker cannot write what its handlers did: an outcome has waited for over 5 s",
        "select pid, pg_blocking_pids(pid), query from pg_stat_activity where application_name = 'pgsched "
        "finish'; end what blocks it",
    ),
    "failing_loops": (
        "a loop of a worker fails again and again, or a handler blocks all of them; an error where nothing is "
        "claimed or written",
        "mend what the message names; the worker goes on by itself",
    ),
    "lost_slots": (
        "free slots of a worker begin nothing, though tasks wait in it",
        "restart the worker on {host}: kill {pid}",
    ),
    "overdue_attempts": (
        "attempts occupy slots after their timeout, or after they were cancelled; an error when they hold all slots",
        "restart the worker on {host}: kill {pid}; a thread cannot be stopped: let the handler watch "
        'ctx.cancelled, or give it executor="process"',
    ),
    "long_attempts": (
        "an attempt has run ten times as long as 99 of 100 of its type, and a minute at least",
        "pgsched task list --type {object} --status running: cancel it, and give the type a timeout",
    ),
    "failing_upkeep": (
        "partitions, retention, progress or another duty of a worker fails again and again",
        "mend what the message names; the worker tries again by itself",
    ),
    "log_errors": (
        "a worker lost log lines within the last minute",
        "on {host}: does whoever reads the standard error of {pid} still do so, is its disk full?",
    ),
}
"""What each kind of trouble that a worker tells of is, and what to do about it."""


def no_worker(facts: Facts) -> Iterator[Found]:
    """Tasks are due and no worker is alive."""
    due = [one for one in facts.types if one.due and one.queue not in facts.paused]
    if due and not facts.alive:
        number = sum(one.due for one in due)
        yield Found(
            "workers", f"{many(number, 'task')} due or more, and no worker is alive", "pgsched worker --app MODULE:APP"
        )


def silent_workers(facts: Facts) -> Iterator[Found]:
    """A worker has not been heard of for three leases."""
    # A worker that ends in order takes its row away; these did not.
    for worker in facts.workers:
        if not worker.alive:
            silent = (facts.now - worker.heartbeat_at).total_seconds()
            yield Found(
                f"{worker.hostname} {worker.pid}",
                f"not heard of for {age(max(silent, 0))}",
                f"on {worker.hostname}: ps -p {worker.pid}; workers forget it by themselves",
            )


def told(kind: str) -> Callable[[Facts], Iterator[Found]]:
    """Return the judgement of a kind of trouble that living workers tell of; by the name of the kind."""
    finds, advice = TOLD[kind]

    def judge(facts: Facts) -> Iterator[Found]:
        for worker in facts.alive:
            for trouble in of_kind(kind, worker.troubles):
                lasted = max((facts.now - trouble.since).total_seconds(), 0.0)
                yield Found(
                    f"{worker.hostname} {worker.pid}",
                    f"{trouble.detail}, for {age(lasted)}",
                    advice.format(host=worker.hostname, pid=worker.pid, object=trouble.object),
                    "error" if trouble.stops else "warning",
                )

    judge.__name__, judge.__doc__ = kind, finds
    return judge


def set_aside(facts: Facts) -> Iterator[Found]:
    """Tasks that a worker cannot claim, or whose outcome it cannot write: the database refuses them."""
    for one in facts.set_aside:
        yield Found(
            f"{one.operation} in {one.queue}",
            f"{many(one.number, 'task', CAP)} set aside for {age(one.seconds)}, as the database refuses it: "
            f"{some_ids(one.ids, one.number)}: {one.reason}",
            f"pgsched task show {one.ids[0]}; mend what the database says; the worker tries again by itself",
        )
