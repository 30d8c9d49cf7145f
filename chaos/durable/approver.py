"""Sends the events that the runs of the trial `durable` wait for, at the worst moments, from plain SQL."""

from __future__ import annotations

import contextlib
import heapq
import random
import threading
import time

import psycopg

from chaos.durable.app import BOOKED

EVENT, KEY = "approved", "only one"
MOMENTS = ("before", "at the wait", "at the wait", "after", "at any time")
"""In turns: in the transaction that makes the task; when the step before the wait is committed; some time after that;
some time after the task was made, whatever it does."""
AFTER_SECONDS, ANY_SECONDS = 1.5, 4.0
SWEEP_SECONDS = 1.0
"""How often those are looked for of which the notification was lost, with the server or its connection."""
MOST_AT_ONCE = 5
"""Events in one transaction."""
SEND = "select pgsched.emit(%s::bigint, %s, jsonb_build_object('by', %s::text), %s)"
SEND_BY_KEY = "select pgsched.emit('run ' || %s::text, %s, jsonb_build_object('by', %s::text), %s)"


def moment_of(number: int) -> str:
    """When the event of a run is sent."""
    return MOMENTS[number % len(MOMENTS)]


def by_of(task_id: int) -> str:
    """Who approves it."""
    return f"approver of {task_id}"


class Approver(threading.Thread):
    """A sender with a separate connection, which resends unanswered events with the same key."""

    def __init__(self, dsn: str, chance: random.Random) -> None:
        super().__init__(name="chaos approver", daemon=True)
        self._dsn = dsn
        self._chance = chance
        self._due: list[tuple[float, int]] = []
        self._numbers: dict[int, int] = {}
        self._asked: set[int] = set()
        """Of those that send at the wait or after it, the ones whose notification has come."""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self.sent = 0
        self.retries = 0
        self.error: str | None = None

    def add(self, runs: dict[int, int]) -> None:
        """Some runs were made: their numbers by their ids."""
        with self._lock:
            self._numbers |= runs
            for task_id, number in runs.items():
                if moment_of(number) == "at any time":
                    heapq.heappush(self._due, (time.monotonic() + self._chance.uniform(0, ANY_SECONDS), task_id))

    def end(self) -> None:
        """Send nothing more."""
        self._end.set()
        self.join(timeout=30)

    def run(self) -> None:
        """Send until :meth:`end`."""
        while not self._end.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True, connect_timeout=3) as connection:
                    self._send_all(connection)
            except psycopg.OperationalError:  # the server is away, or the sender was the victim of a deadlock
                self.retries += 1
                time.sleep(0.05)
            except Exception as error:
                self.error = f"the sender of events broke off: {type(error).__name__}: {error}"
                raise

    def _send_all(self, connection: psycopg.Connection) -> None:
        connection.execute(f"listen {BOOKED}")
        next_sweep = time.monotonic()
        while not self._end.is_set():
            now = time.monotonic()
            if now >= next_sweep:
                for row in connection.execute(
                    "select task_id from entries e where step = 'book' and not exists "
                    "(select from pgsched.durable_events d where d.task_id = e.task_id)"
                ).fetchall():
                    self._booked(int(row[0]))
                next_sweep = now + SWEEP_SECONDS
            while due := self._take_due():
                self._send(connection, due)
            wait = max(0.0, min(next_sweep, self._next_due()) - time.monotonic())
            for told in connection.notifies(timeout=wait, stop_after=1):
                self._booked(int(told.payload))

    def _booked(self, task_id: int) -> None:
        """The next thing that the run does is the wait."""
        with self._lock:
            number = self._numbers.get(task_id)
            if number is None or task_id in self._asked:
                return
            moment = moment_of(number)
            if moment in ("at the wait", "after"):
                self._asked.add(task_id)
                # Some milliseconds: from before the wait to behind the suspension.
                latest = AFTER_SECONDS if moment == "after" else self._chance.choice((0.0, 0.005, 0.03))
                heapq.heappush(self._due, (time.monotonic() + self._chance.uniform(0, latest), task_id))

    def _take_due(self) -> list[int]:
        taken: list[int] = []
        with self._lock:
            most = self._chance.choice((1, 1, MOST_AT_ONCE))
            while self._due and self._due[0][0] <= time.monotonic() and len(taken) < most:
                taken.append(heapq.heappop(self._due)[1])
        self._chance.shuffle(taken)
        return taken

    def _next_due(self) -> float:
        with self._lock:
            return self._due[0][0] if self._due else float("inf")

    def _send(self, connection: psycopg.Connection, ids: list[int]) -> None:
        try:
            with connection.transaction():
                for task_id in ids:
                    # Twice in one transaction now and then: the second is the first.
                    for _ in range(self._chance.choice((1, 1, 2))):
                        by_key = self._chance.random() < 0.5
                        name = self._numbers[task_id] if by_key else task_id
                        connection.execute(SEND_BY_KEY if by_key else SEND, (name, EVENT, by_of(task_id), KEY))
        except BaseException as error:
            # A commit that was not answered may have been one, and the task may be over by now.
            over = isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState) and len(ids) == 1
            with self._lock:
                for task_id in [] if over else ids:
                    heapq.heappush(self._due, (time.monotonic() + 0.1, task_id))
            if isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState):
                self.retries += 1
                return
            raise
        self.sent += len(ids)


def send_with(connection: psycopg.Connection[object], ids: list[int]) -> None:
    """Send the events of tasks that this transaction has made."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.executemany(SEND, [(task_id, EVENT, by_of(task_id), KEY) for task_id in ids])
