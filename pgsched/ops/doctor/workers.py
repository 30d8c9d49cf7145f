"""Judgements about workers: whether any is there, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pgsched.db.queries.diagnostics import CAP
from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age, many, some_ids

ADVICE: Final = {
    "unwritten_outcomes": "select pid, pg_blocking_pids(pid), query from pg_stat_activity where application_name = "
    "'pgsched finish'; end what blocks it",
    "failing_loops": "mend what the message names; the worker goes on by itself",
    "lost_slots": "restart the worker on {host}: kill {pid}",
    "overdue_attempts": "restart the worker on {host}: kill {pid}; a thread cannot be stopped: let the handler watch "
    'ctx.cancelled, or give it executor="process"',
    "long_attempts": "pgsched task list --type {object} --status running: cancel it, and give the type a timeout",
    "failing_upkeep": "mend what the message names; the worker tries again by itself",
    "log_errors": "on {host}: does whoever reads the standard error of {pid} still do so, is its disk full?",
}
"""What to do about the troubles of a worker, by kind."""


def no_worker(facts: Facts) -> Iterator[Found]:
    """Something is due and nobody is there."""
    due = [one for one in facts.types if one.due and one.queue not in facts.paused]
    if due and not facts.alive:
        number = sum(one.due for one in due)
        yield Found(
            "workers", f"{many(number, 'task')} due or more, and no worker is alive", "pgsched worker --app MODULE:APP"
        )


def silent_workers(facts: Facts) -> Iterator[Found]:
    """A worker that ends in order takes its row away; these did not."""
    for worker in facts.workers:
        if not worker.alive:
            silent = (facts.now - worker.heartbeat_at).total_seconds()
            yield Found(
                f"{worker.hostname} {worker.pid}",
                f"not heard of for {age(max(silent, 0))}",
                f"on {worker.hostname}: ps -p {worker.pid}; workers forget it by themselves",
            )


def told(kind: str) -> Callable[[Facts], Iterator[Found]]:
    """Return the judgement of a kind of trouble that living workers tell of; it has the name of the kind."""

    def judge(facts: Facts) -> Iterator[Found]:
        for worker in facts.alive:
            for trouble in of_kind(kind, worker.troubles):
                lasted = max((facts.now - trouble.since).total_seconds(), 0.0)
                yield Found(
                    f"{worker.hostname} {worker.pid}",
                    f"{trouble.detail}, for {age(lasted)}",
                    ADVICE[kind].format(host=worker.hostname, pid=worker.pid, object=trouble.object),
                    "error" if trouble.stops else "warning",
                )

    judge.__name__ = kind
    return judge


def set_aside(facts: Facts) -> Iterator[Found]:
    """The database refuses a row again and again; the others go on without it."""
    for one in facts.set_aside:
        yield Found(
            f"{one.operation} in {one.queue}",
            f"{many(one.number, 'task', CAP)} set aside for {age(one.seconds)}, as the database refuses it: "
            f"{some_ids(one.ids, one.number)}: {one.reason}",
            f"pgsched task show {one.ids[0]}; mend what the database says; the worker tries again by itself",
        )
