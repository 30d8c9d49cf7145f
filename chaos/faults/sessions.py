"""Sessions and prepared transactions that somebody left behind, with locks on rows that workers want."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from contextlib import closing

import psycopg

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from pgsched import Client
from pgsched.db.queries.diagnostics import HELD_SECONDS
from tests.support.waiting import wait_until

DUE = """
    select id from pgsched.tasks
    where queue = 'default' and status = 'pending' and schedule_type = 'one_time' and next_run_at <= now()
    order by priority desc, next_run_at, id limit 25 for update skip locked
"""
"""Those that would be claimed next."""
PREPARED = "the transaction manager's"
LEAST = 0.7
"""The other rows' throughput beside the held ones, of that before. The queue with a limit is held as a whole."""


class LeftSessions(Fault):
    """The check fails where the doctor does not name whoever holds the rows, and where other rows do not go on."""

    name = "left-sessions"
    does = (
        "Prepared transactions are left behind and sessions stay idle in their transactions, with locks on the rows "
        "that are due next, on due rows that they have changed, and on the row of a queue with a limit, for longer "
        "than a lease; then they are rolled back and terminated."
    )
    injects = "transactions"
    in_tests = False
    own_server = True
    server_settings = {"max_prepared_transactions": "10"}  # noqa: RUF012

    def __init__(self) -> None:
        self._wrong: list[str] = []
        self._ratios: list[float] = []
        self._held = 0

    def shape(self, size: Size) -> Shape:
        return Shape(options=("--queue", "default", "--queue", "held"))

    def set_up(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute("""insert into pgsched.queues (name, limits) values ('held', '{"concurrency": 4}')""")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 1 if trial.size.short else 4
        start = time.time()
        trial.pause(4.0)
        # Once: after a hold, what was held is caught up with, faster than usual.
        before = trial.rate(start, time.time())
        for _ in range(rounds):
            self._hold(trial, chance, before)
            trial.pause(3.0)
        return 4 * rounds

    def _hold(self, trial: Trial, chance: random.Random, before: float) -> None:
        with (
            closing(psycopg.connect(trial.dsn, application_name="left: looks")) as looks,
            closing(psycopg.connect(trial.dsn, application_name="left: manages")) as manages,
            closing(psycopg.connect(trial.dsn, application_name="left: queue")) as queue,
            trial.books() as books,
        ):
            ids = [row[0] for row in looks.execute(DUE)]
            books.execute("begin")
            books.execute("begin")
            changed = [row["id"] for row in books.execute(DUE)]
            books.execute("update pgsched.tasks set tags = '{changed}' where id = any(%s)", (changed,))
            books.execute(f"prepare transaction '{PREPARED.replace(chr(39), chr(39) * 2)}'")
            queue.execute("select from pgsched.queues where name = 'held' for update")
            manages.execute("select pg_advisory_xact_lock(hashtextextended('pgsched.prune', 0))")
            of_queue = [
                row["id"]
                for row in books.execute(
                    "insert into pgsched.tasks (task_type, payload, queue, max_attempts)"
                    """ select 'steady', '{"number": 1}', 'held', 1000 from generate_series(1, 40) returning id"""
                )
            ]
            trial.expect(of_queue)
            self._held += len(ids) + len(changed)
            if not ids or not changed:
                self._wrong.append("no due rows were held")
            start = time.time()
            trial.pause(max(HELD_SECONDS + 1.0, chance.uniform(2.0, 4.0) * trial.size.lease))
            self._ratios.append(trial.rate(start, time.time()) / max(before, 1.0))
            untouched = books.execute(
                "select count(*) as n from pgsched.tasks where id = any(%s) and attempts = 0", (ids + changed,)
            ).fetchone()
            if untouched is None or untouched["n"] != len(ids) + len(changed):
                self._wrong.append("rows that others had locked were run")
            with Client(trial.dsn) as client:
                named = {finding.object for finding in client.doctor(checks=["held_locks"]).findings}
            for who in (
                str(looks.info.backend_pid),
                str(queue.info.backend_pid),
                str(manages.info.backend_pid),
                PREPARED,
            ):
                if who not in named:
                    self._wrong.append(f"the doctor did not name {who!r}, but {sorted(named)}")
            books.execute(f"rollback prepared '{PREPARED.replace(chr(39), chr(39) * 2)}'")
            books.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'left: %'"
            )
        wait_until(
            lambda: self._ended(trial, ids + changed), timeout=30, message="the rows that were held have been run"
        )

    def _ended(self, trial: Trial, ids: list[int]) -> bool:
        with trial.books() as books:
            left = books.execute(
                "select from pgsched.tasks where id = any(%s) and next_run_at is not null limit 1", (ids,)
            )
            return left.fetchone() is None

    def check(self, trial: Trial) -> Iterable[str]:
        yield from dict.fromkeys(self._wrong)
        if min(self._ratios, default=0.0) < LEAST:
            yield f"the other rows went on at {min(self._ratios, default=0.0):.2f} of the throughput before"

    def tell(self) -> Iterable[str]:
        yield (
            f"{self._held} due rows were held; meanwhile the others went on at {min(self._ratios):.2f} of the "
            "throughput before, at least; the doctor named every holder."
        )
