"""The producer of the trial `shards`: clients that route by tenant, each in a thread.

Arguments: the tenants that stay, the tenants that are moved (both with commas between them), and how many tasks of
each tenant to keep waiting. ``PGSCHED_DSN`` has the shards. The name of every task is a number, unique in all
databases; the file ``acknowledged`` in the working folder gets the numbers of those whose insert was acknowledged. A
call that fails is repeated with the same key. One without a key is not: its number is given up. SIGTERM: end once what
was begun is acknowledged.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from chaos.load.producer import EVERY, KINDS, TICK_KINDS, TICKS
from pgsched import DatabaseUnavailable, ShardedClient, TaskSpec
from pgsched.db.databases import read_databases

BATCH = 20
PAUSE = 0.05
"""Seconds between two looks at how much waits."""
MOVE_SECONDS = 60.0
"""A move that is killed and repeated may take longer than clients wait by default."""
EVERY_TICK = timedelta(milliseconds=int(EVERY.split()[0]))
PATIENT: dict[str, Any] = {"max_attempts": 1000, "backoff": "fixed", "backoff_delay": 0.1}
WAITING = """
select count(*) from pgsched.tasks where tenant_id = %s and next_run_at is not null and schedule_type = 'one_time'
"""


class Numbers:
    """The numbers of tasks, for all threads, and the file of those that were acknowledged."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self._next = itertools.count(1)
        self._lock = threading.Lock()

    def draw(self) -> int:
        """A number that nobody has."""
        with self._lock:
            return next(self._next)

    def acknowledge(self, *numbers: int) -> None:
        """Write down that these are in a database."""
        with self._lock:
            self._file.write("".join(f"{number}\n" for number in numbers))
            self._file.flush()


class Producer:
    """Inserts tasks of one tenant until it is told to end."""

    def __init__(
        self,
        *,
        dsns: Mapping[str, str],
        tenant: str,
        waiting: int,
        is_moved: bool,
        numbers: Numbers,
        ending: threading.Event,
    ) -> None:
        self._dsns = dsns
        self._tenant = tenant
        self._waiting = waiting
        self._is_moved = is_moved
        self._numbers = numbers
        self._ending = ending
        self._client = ShardedClient(dsns, pool_size=1, move_timeout=MOVE_SECONDS)
        # Reads where tenants are at another time: of the two, one often has an outdated map.
        self._other = ShardedClient(dsns, pool_size=1, move_timeout=MOVE_SECONDS)
        self._connections: dict[str, psycopg.Connection[tuple[int]]] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        """Insert until told to end."""
        try:
            self._run()
        except BaseException as error:
            self.error = error
            self._ending.set()
            raise
        finally:
            self._client.close()
            self._other.close()

    def _run(self) -> None:
        if self._is_moved:
            self._schedule("tick", cron="* * * * * *")
        next_schedule, turns = time.monotonic(), itertools.count()
        while not self._ending.is_set():
            if self._is_moved and time.monotonic() >= next_schedule:
                kind = TICK_KINDS[next(turns) % len(TICK_KINDS)]
                self._schedule(kind, every=EVERY_TICK, times=TICKS, on_missed="all")
                next_schedule = time.monotonic() + 1.0
            missing = self._waiting - self._count()
            if missing < self._waiting // 4:
                time.sleep(PAUSE)
                continue
            for _ in range(max(1, missing // BATCH)):
                self._schedule_many()
                self._schedule(KINDS[next(turns) % len(KINDS)])
                self._schedule_without_key()

    def _schedule(self, task_type: str, **options: Any) -> None:
        """Make a call twice, as after an answer that was lost: the key makes it one task, in whichever shard."""
        number = self._numbers.draw()
        for client in (self._client, self._other) if self._is_moved else (self._client,):
            while True:
                with contextlib.suppress(DatabaseUnavailable):
                    client.schedule(
                        task_type,
                        _payload(task_type, number),
                        name=str(number),
                        tenant_id=self._tenant,
                        idempotency_key=f"task {number}",
                        **PATIENT,
                        **options,
                    )
                    break
                time.sleep(PAUSE)
        self._numbers.acknowledge(number)

    def _schedule_without_key(self) -> None:
        number = self._numbers.draw()
        try:
            self._client.schedule("steady", {"number": number}, name=str(number), tenant_id=self._tenant, **PATIENT)
        except DatabaseUnavailable:
            time.sleep(PAUSE)  # it may be there or not
        else:
            self._numbers.acknowledge(number)

    def _schedule_many(self) -> None:
        numbers = [self._numbers.draw() for _ in range(BATCH)]
        specs = [
            TaskSpec(
                task_type=KINDS[number % len(KINDS)],
                payload=_payload(KINDS[number % len(KINDS)], number),
                name=str(number),
                tenant_id=self._tenant,
                idempotency_key=f"task {number}",
                **PATIENT,
            )
            for number in numbers
        ]
        try:
            self._client.schedule_many(specs)
        except DatabaseUnavailable:
            # What has run meanwhile may stay where it was, with its key: one by one, such keys are looked up.
            for spec in specs:
                self._repeat(spec)
        self._numbers.acknowledge(*numbers)

    def _repeat(self, spec: TaskSpec) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                self._client.schedule(
                    spec.task_type,
                    spec.payload,
                    name=str(spec.name),
                    tenant_id=spec.tenant_id,
                    idempotency_key=spec.idempotency_key,
                    **PATIENT,
                )
                return
            time.sleep(PAUSE)

    def _count(self) -> int:
        """How many tasks of the tenant wait in its shard; as many as are wanted while that is down."""
        home = ""
        try:
            home = self._client.home(self._tenant)
            if home not in self._connections:
                self._connections[home] = psycopg.connect(self._dsns[home], autocommit=True, connect_timeout=3)
            row = self._connections[home].execute(WAITING, (self._tenant,)).fetchone()
        except (psycopg.Error, DatabaseUnavailable):
            self._connections.pop(home, None)
            return self._waiting
        assert row is not None
        return row[0]


def _payload(task_type: str, number: int) -> dict[str, int]:
    """What its handler takes."""
    return {"number": number} if task_type.startswith("steady") else {}


def main() -> int:
    """Run until SIGTERM; return 1 if a thread failed."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    settled, moved, waiting = sys.argv[1:]
    dsns, numbers = read_databases(os.environ["PGSCHED_DSN"].split()), Numbers(Path("acknowledged"))
    producers = [
        Producer(
            dsns=dsns, tenant=tenant, waiting=int(waiting), is_moved=tenants is moved, numbers=numbers, ending=ending
        )
        for tenants in (settled, moved)
        for tenant in tenants.split(",")
    ]
    threads = [threading.Thread(target=one.run, name=f"producer-{place}") for place, one in enumerate(producers)]
    for thread in threads:
        thread.start()
    print("producing", flush=True)
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)  # so that the signal is handled
    failed = [f"{type(one.error).__name__}: {one.error}" for one in producers if one.error is not None]
    print(f"failed: {failed[0]}" if failed else "produced", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
