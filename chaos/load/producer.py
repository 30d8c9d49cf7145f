"""The producer of a trial: keeps tasks waiting, and writes down each id once its commit was acknowledged.

Arguments: how many tasks to keep waiting. ``PGSCHED_DSN`` says where; the file ``acknowledged`` in the working folder
gets a line for each task, and ``acknowledged-keys`` one with id, time and idempotency key: after a failover that lost
the task another one may have its id. An insert that fails or is not answered is made again with the same idempotency
keys, on a new connection. SIGTERM: end once what was begun is acknowledged. SIGUSR1: insert nothing more, SIGUSR2: go
on.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar

import psycopg

KINDS = ("steady", "steady", "steady", "steady", "steady", "steady", "steady_plain", "steady_plain", "steady", "entry")
TICK_KINDS = ("tick", "entry", "entry_plain")
TICKS, EVERY = 5, "200 milliseconds"
BATCH = 100
ANSWER_SECONDS = 5.0
"""A server that is silent for longer is given up."""

T = TypeVar("T")

Connection = psycopg.Connection[tuple[object, ...]]
Insert = Callable[[Connection], dict[str, int]]
"""Inserts, and returns the ids by idempotency key."""
EVERY_SECOND = "every second"


class Producer:
    """Inserts until it is stopped."""

    def __init__(self, *, dsn: str, waiting: int, acknowledged: TextIO, keys: TextIO) -> None:
        self._dsn = dsn
        self._waiting = waiting
        self._acknowledged = acknowledged
        self._keys = keys
        self._connection: Connection | None = None
        self._numbers = itertools.count(1)
        self.ending = False
        self.paused = False
        self.retries = 0

    def run(self) -> None:
        """Insert until :attr:`ending`."""
        self._insert(_every_second)
        schedules, next_schedule = itertools.count(1), time.monotonic()
        while not self.ending:
            if self.paused:
                time.sleep(0.05)
                continue
            if time.monotonic() >= next_schedule:
                self._insert(_so_many_ticks(next(schedules)))
                next_schedule = time.monotonic() + 1.0
            missing = self._waiting - self._persistently(_count)
            if missing < self._waiting // 4:
                time.sleep(0.05)
                continue
            # Several for one count: that costs more the more tasks have ended.
            for _ in range(max(1, missing // BATCH)):
                self._insert(_batch(list(itertools.islice(self._numbers, min(missing, BATCH)))))
                self._insert(_batch([next(self._numbers)]))  # a separate commit, as in most programs

    def _insert(self, insert: Insert) -> None:
        ids = self._persistently(insert)
        at = time.time()
        self._acknowledged.write("".join(f"{one}\n" for one in ids.values()))
        self._acknowledged.flush()
        self._keys.write("".join(f"{one} {at:.3f} {key}\n" for key, one in ids.items()))
        self._keys.flush()

    def _persistently(self, ask: Callable[[Connection], T]) -> T:
        """Ask until the server answers; what was asked may have been done before, so ``ask`` must bear repetition."""
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(
                        self._dsn, autocommit=True, connect_timeout=3, prepare_threshold=None
                    )
                with _answered_in_time(self._connection):
                    return ask(self._connection)
            except psycopg.Error as error:
                self.retries += 1
                print(f"again: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
                if self._connection is not None:
                    with suppress(psycopg.Error):
                        self._connection.close()
                self._connection = None
                time.sleep(0.1)


@contextmanager
def _answered_in_time(connection: Connection) -> Iterator[None]:
    """Shut the socket when the server does not answer in time: libpq then raises an error."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:

        def shut() -> None:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(ANSWER_SECONDS, shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _batch(numbers: list[int]) -> Insert:
    def insert(connection: Connection) -> dict[str, int]:
        keys = [f"task {number}" for number in numbers]
        connection.execute(
            """
            insert into pgsched.tasks (task_type, payload, max_attempts, backoff, backoff_delay, idempotency_key)
            select (%s::text[])[1 + number %% %s], jsonb_build_object('number', number), 1000, 'fixed', '100 ms', key
            from unnest(%s::int[], %s::text[]) as d(number, key)
            on conflict (idempotency_key) where idempotency_key is not null do nothing
            """,
            (list(KINDS), len(KINDS), numbers, keys),
        )
        rows = connection.execute(
            "select idempotency_key, id from pgsched.tasks where idempotency_key = any(%s)", (keys,)
        ).fetchall()
        return {str(row[0]): int(str(row[1])) for row in rows}

    return insert


def _so_many_ticks(number: int) -> Insert:
    """A schedule of five ticks, from the SQL function; every tick is to run, however late."""

    def insert(connection: Connection) -> dict[str, int]:
        rows = connection.execute(
            "select pgsched.schedule(%s, repeat_interval => %s::interval, repeat_count => %s, on_missed => 'all',"
            " max_attempts => 1000, backoff => 'fixed', backoff_delay => '100 ms', idempotency_key => %s)",
            (TICK_KINDS[number % len(TICK_KINDS)], EVERY, TICKS, f"ticks {number}"),
        ).fetchall()
        return {f"ticks {number}": int(str(rows[0][0]))}

    return insert


def _every_second(connection: Connection) -> dict[str, int]:
    """A schedule without end."""
    rows = connection.execute(
        "select pgsched.schedule('tick', cron_expression => '* * * * * *', max_attempts => 1000, backoff => 'fixed',"
        " backoff_delay => '100 ms', idempotency_key => %s)",
        (EVERY_SECOND,),
    ).fetchall()
    return {EVERY_SECOND: int(str(rows[0][0]))}


def _count(connection: Connection) -> int:
    rows = connection.execute("select count(*) from pgsched.tasks where next_run_at is not null and enabled").fetchall()
    return int(str(rows[0][0]))


def main() -> None:
    """Run until SIGTERM."""
    with Path("acknowledged").open("a") as acknowledged, Path("acknowledged-keys").open("a") as keys:
        dsn, waiting = os.environ["PGSCHED_DSN"], int(sys.argv[1])
        producer = Producer(dsn=dsn, waiting=waiting, acknowledged=acknowledged, keys=keys)
        signal.signal(signal.SIGTERM, lambda *_: setattr(producer, "ending", True))
        signal.signal(signal.SIGUSR1, lambda *_: setattr(producer, "paused", True))
        signal.signal(signal.SIGUSR2, lambda *_: setattr(producer, "paused", False))
        print("producing", flush=True)
        producer.run()
        print(f"produced, {producer.retries} tries were in vain", flush=True)


if __name__ == "__main__":
    main()
