"""Judgements about workers: whether any is there, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgsched.db.queries.diagnostics import CAP
from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Finding
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


def no_worker(facts: Facts) -> Iterator[Finding]:
    """Something is due and nobody is there."""
    due = [one for one in facts.types if one.due and one.queue not in facts.paused]
    if due and not any(worker.alive for worker in facts.workers):
        number = sum(one.due for one in due)
        yield Finding(
            severity="error",
            object="workers",
            problem=f"{many(number, 'task')} due or more, and no worker is alive",
            advice="pgsched worker --app MODULE:APP",
        )


def silent_workers(facts: Facts) -> Iterator[Finding]:
    """A worker that ends in order takes its row away; these did not."""
    for worker in facts.workers:
        if not worker.alive:
            silent = (facts.now - worker.heartbeat_at).total_seconds()
            yield Finding(
                severity="warning",
                object=f"{worker.hostname} {worker.pid}",
                problem=f"not heard of for {age(max(silent, 0))}",
                advice=f"on {worker.hostname}: ps -p {worker.pid}; workers forget it by themselves",
            )


def told(kind: str, facts: Facts) -> Iterator[Finding]:
    """Living workers tell of troubles of a kind."""
    for worker in facts.workers:
        for trouble in worker.troubles if worker.alive else ():
            if trouble.kind == kind:
                lasted = max((facts.now - trouble.since).total_seconds(), 0.0)
                yield Finding(
                    severity="error" if trouble.stops else "warning",
                    object=f"{worker.hostname} {worker.pid}",
                    problem=f"{trouble.detail}, for {age(lasted)}",
                    advice=ADVICE[kind].format(host=worker.hostname, pid=worker.pid, object=trouble.object),
                )


def set_aside(facts: Facts) -> Iterator[Finding]:
    """The database refuses a row again and again; the others go on without it."""
    for one in facts.set_aside:
        yield Finding(
            severity="error",
            object=f"{one.operation} in {one.queue}",
            problem=f"{many(one.number, 'task', CAP)} set aside for {age(one.seconds)}, as the database refuses it: "
            f"{some_ids(one.ids, one.number)}: {one.reason}",
            advice=f"pgsched task show {one.ids[0]}; mend what the database says; the worker tries again by itself",
        )
