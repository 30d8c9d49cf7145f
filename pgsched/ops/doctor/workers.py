"""Judgements about workers: whether any is alive, and the troubles that they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pgsched.db.queries.diagnostics import CAP
from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age, many, some_ids

TOLD: Final = {
    "unwritten_outcomes": (
        "a worker cannot write the outcome of its handlers: one has waited for over 5 s",
        "select pid, pg_blocking_pids(pid), query from pg_stat_activity where application_name = 'pgsched "
        "finish'; end what blocks it",
    ),
    "failing_loops": (
        "a loop of a worker fails repeatedly, or a handler blocks all of them; an error where nothing is "
        "claimed or written",
        "fix what the message names; the worker continues by itself",
    ),
    "lost_slots": (
        "free slots of a worker start nothing, though tasks wait in it",
        "restart the worker on {host}: kill {pid}",
    ),
    "overdue_attempts": (
        "attempts occupy slots after their timeout or cancellation; an error when they occupy all slots",
        "restart the worker on {host}: kill {pid}; a thread cannot be stopped: let the handler check "
        'ctx.cancelled, or give it executor="process"',
    ),
    "long_attempts": (
        "an attempt has run ten times as long as 99 % of its type, and for at least a minute",
        "pgsched task list --type {object} --status running: cancel it, and give the type a timeout",
    ),
    "failing_upkeep": (
        "partitions, retention, progress or another duty of a worker fails repeatedly",
        "fix what the message names; the worker retries by itself",
    ),
    "log_errors": (
        "a worker lost log lines within the last minute",
        "on {host}: check that the standard error of {pid} is still being read and that the disk is not full",
    ),
}
"""The troubles that workers report: what each kind means, and its remedy."""


def no_worker(facts: Facts) -> Iterator[Found]:
    """Tasks are due and no worker is alive."""
    due = [one for one in facts.types if one.due and one.queue not in facts.paused]
    if due and not facts.alive:
        number = sum(one.due for one in due)
        yield Found(
            "workers", f"at least {many(number, 'task')} due, and no worker is alive", "pgsched worker --app MODULE:APP"
        )


def silent_workers(facts: Facts) -> Iterator[Found]:
    """A worker has not been seen for three leases."""
    # A worker that shuts down orderly deletes its row; these did not.
    for worker in facts.workers:
        if not worker.alive:
            silent = (facts.now - worker.heartbeat_at).total_seconds()
            yield Found(
                f"{worker.hostname} {worker.pid}",
                f"not seen for {age(max(silent, 0))}",
                f"on {worker.hostname}: ps -p {worker.pid}; workers delete its row by themselves",
            )


def told(kind: str) -> Callable[[Facts], Iterator[Found]]:
    """Return the judgement of a kind of trouble that living workers report, by the name of the kind."""
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
    """Tasks that a worker cannot claim, or whose outcome it cannot write: the database rejects them."""
    for one in facts.set_aside:
        yield Found(
            f"{one.operation} in {one.queue}",
            f"{many(one.number, 'task', CAP)} set aside for {age(one.seconds)}, as the database rejects it: "
            f"{some_ids(one.ids, one.number)}: {one.reason}",
            f"pgsched task show {one.ids[0]}; fix what the database reports; the worker retries by itself",
        )
