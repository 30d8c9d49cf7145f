"""The server's notification queue, filled because of somebody's idle listener."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from contextlib import closing

import psycopg
from psycopg import errors

from chaos.faults.model import Fault
from chaos.faults.trial import Trial
from pgsched import Client
from tests.support.waiting import wait_until

HALF = 0.5
"""Above this usage, `pgsched.notify` sends nothing."""
LEAST = 0.7
"""The throughput while the queue is full, of that before."""


class NotifyQueueFull(Fault):
    """Negative control: with ``guarded=False``, `pgsched.notify` sends whatever the queue's usage is, as every version
    before 0049 did; then outcomes fail at their commit, and :meth:`check` reports it."""

    name = "notify-queue-full"
    does = (
        "Somebody listens and stays idle in a transaction until the server's notification queue is full (64 pages "
        "instead of 8 GB), while the queue sends an event for each outcome; then that session is terminated."
    )
    injects = "full queues"
    in_tests = False
    own_server = True
    server_settings = {"max_notify_queue_pages": "64"}  # noqa: RUF012

    def __init__(self, *, guarded: bool = True) -> None:
        self._guarded = guarded
        self._wrong: list[str] = []
        self._ratios: list[float] = []

    def set_up(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute("insert into pgsched.queues (name, events) values ('default', true)")
            if not self._guarded:
                books.execute(
                    "create or replace function pgsched.notify(channel text, payload text) returns void"
                    " language sql as 'select pg_notify($1, $2)'"
                )

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 1 if trial.size.short else 5
        for _ in range(rounds):
            start = time.time()
            trial.pause(2.0)
            self._fill(trial, chance, trial.rate(start, time.time()))
            trial.pause(1.0)
        return rounds

    def _fill(self, trial: Trial, chance: random.Random, before: float) -> None:
        with (
            closing(psycopg.connect(trial.dsn, autocommit=True, application_name="idle listener")) as listener,
            trial.books() as books,
        ):
            listener.execute("listen somebody")
            listener.execute("begin")
            listener.execute("select 1")
            while _usage(trial) < HALF:
                books.execute("select pg_notify('somebody', repeat('y', 7000))")
            # 4 GB take minutes on a real server. What was told that there is room commits before the rest is filled.
            trial.pause(1.0)
            try:
                while True:
                    books.execute("select pg_notify('somebody', repeat('y', 7000))")
            except errors.ProgramLimitExceeded:
                pass
            start = time.time()
            try:
                later = trial.insert("steady", 1, payload='{"number": 1}')
                # Workers learn of this by a notification.
                books.execute("update pgsched.queues set events = events where name = 'default'")
            except errors.ProgramLimitExceeded as error:
                later = []
                self._wrong.append(f"beside a full notification queue a change failed: {error}")
            trial.pause(3.0 if trial.size.short else chance.uniform(2.0, 4.0) * trial.size.lease)
            self._ratios.append(trial.rate(start, time.time()) / max(before, 1.0))
            usage = books.execute("select pg_notification_queue_usage() as usage").fetchone()
            if usage is None or usage["usage"] < 0.9:
                self._wrong.append(f"the queue was not full: {usage}")
            with Client(trial.dsn) as client:
                found = client.doctor(checks=["notification_queue"]).findings
            pid = listener.info.backend_pid
            if not any(f"pg_terminate_backend({pid})" in finding.advice for finding in found):
                self._wrong.append(f"the doctor did not name the idle listener {pid}: {found}")
            books.execute("select pg_terminate_backend(%s)", (pid,))
            wait_until(lambda: _usage(trial) < 0.1, timeout=10, message="the notification queue is empty again")
        trial.wait_until_ended(later)

    def check(self, trial: Trial) -> Iterable[str]:
        yield from dict.fromkeys(self._wrong)
        if (ratio := min(self._ratios, default=0.0)) < LEAST:
            yield f"beside a full notification queue the throughput was {ratio:.2f} of that before"
        if any("too many notifications" in text for text in trial.crew.outputs().values()):
            yield "a worker's commit failed because the notification queue was full"

    def tell(self) -> Iterable[str]:
        yield f"While the queue was full, the throughput was at least {min(self._ratios):.2f} of that before."


def _usage(trial: Trial) -> float:
    with trial.books() as books:
        row = books.execute("select pg_notification_queue_usage() as usage").fetchone()
    assert row is not None
    return float(row["usage"])
