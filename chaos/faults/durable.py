"""Durable runs whose workers and whose server are killed all the time."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from chaos.durable.app import SLOW_STEP_SECONDS, STATEMENTS, STEP_SECONDS
from chaos.durable.approver import Approver, moment_of, send_with
from chaos.durable.rules import RULES, TABLES, read_calls
from chaos.faults.model import Fault, Shape, Size
from chaos.faults.own_server import FAST, IMMEDIATE
from chaos.faults.trial import Trial
from chaos.fleet import holds_tasks
from chaos.invariants import broken_rules

RUNS, KILLS, RESTARTS, STOPS = 20_000, 200, 12, 12
"""Of the long form; a stop is longer than a lease."""
SHORT_RUNS, SHORT_KILLS, SHORT_RESTARTS, SHORT_STOPS = 300, 20, 2, 1
SLOW = 10
"""Each tenth run is slow."""
OPEN, SHORT_OPEN = 1_500, 120
"""Number of active runs, most of them suspended."""
BATCH = 100
RECORDS = 8
"""Steps that a run records."""
LAST_BLOW = 0.97
"""When so much of all is recorded."""
QUIET_SECONDS = 45.0
"""Seconds without any progress after which the remaining runs count as stuck."""


class Durable(Fault):
    """SIGKILL of workers, restarts of the server and workers that stand still, under durable runs."""

    name = "durable"
    does = (
        f"{KILLS} workers get SIGKILL, others are suspended for longer than their lease, and PostgreSQL is restarted"
        f" {RESTARTS} times, cleanly and by a crash, during {RUNS:,} durable runs with five steps, a sleep, an event"
        " and a child; the events arrive before, at the moment of, and after the wait. Every step must be recorded once"
        " and not be called again, the writes of transactional steps must exist once, and every run must end."
    )
    injects = "kills, restarts and stops"
    own_server = True
    server_settings: ClassVar[Mapping[str, str]] = {"max_connections": "200"}

    def __init__(
        self,
        *,
        runs: int | None = None,
        stops: int | None = None,
        slow: int = SLOW,
        statements: Path | None = None,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """``runs``: how many, with as many blows in proportion; as its size has it unless given.

        For negative controls: ``stops``; ``slow``, one run in so many is; ``statements``, what the workers have
        instead of ``sql``.
        """
        self._runs, self._stops, self._slow = runs, stops, slow
        self._statements = statements
        self._quiet_seconds = quiet_seconds
        self._ids: list[int] = []
        self._told: list[str] = []
        self._problems: list[str] = []
        self._hits = 0
        """Of workers that held tasks."""

    def shape(self, size: Size) -> Shape:
        return Shape(
            workers=2 if size.short else 4,
            concurrency=15,
            app="chaos.durable.app:app",
        )

    def set_up(self, trial: Trial) -> None:
        with trial.books() as books:
            for statement in TABLES.split(";\n"):
                books.execute(statement)
        if self._statements is not None:
            trial.environment[STATEMENTS] = str(self._statements)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        short = trial.size.short
        runs = self._runs or (SHORT_RUNS if short else RUNS)
        scale = runs / (SHORT_RUNS if short else RUNS)
        blows = [
            *["kill"] * max(1, round((SHORT_KILLS if short else KILLS) * scale)),
            *["stop"] * (self._stops or max(1, round((SHORT_STOPS if short else STOPS) * scale))),
            *["restart"] * max(2, round((SHORT_RESTARTS if short else RESTARTS) * scale)),
        ]
        chance.shuffle(blows)
        began = time.monotonic()
        assert trial.producer is not None
        trial.producer.signal(signal.SIGUSR1)  # the machine is for the runs
        approver = Approver(trial.dsn, random.Random(chance.random()))
        approver.start()
        try:
            self._strike(trial, chance, approver, blows, runs, SHORT_OPEN if short else OPEN)
        finally:
            approver.end()
            trial.producer.signal(signal.SIGUSR2)
        seconds = time.monotonic() - began
        trial.fault_ended_at = time.time()
        if approver.error is not None:
            self._problems.append(approver.error)
        self._told.append(
            f"{runs:,} runs in {seconds:,.0f} s, {blows.count('kill')} kills ({self._hits} of workers that held tasks),"
            f" {blows.count('restart')} restarts, {blows.count('stop')} stops; {approver.sent:,} events,"
            f" {approver.retries} transactions of theirs were tried again."
        )
        return len(blows)

    def _strike(
        self, trial: Trial, chance: random.Random, approver: Approver, blows: list[str], runs: int, most: int
    ) -> None:
        """Make the runs, and strike by how much they have recorded, so that the blows hit the first and the last."""
        struck, seen, quiet_since, restarts = 0, -1, time.monotonic(), 0
        while True:
            ended, recorded, moves = self._progress(trial)
            while len(self._ids) < runs and len(self._ids) - ended < most:
                approver.add(self._insert(trial, min(BATCH, runs - len(self._ids))))
            if ended >= runs:
                break
            while struck < len(blows) * min(1.0, recorded / (runs * RECORDS * LAST_BLOW)):
                what = blows[struck]
                struck += 1
                if what == "kill":
                    self._kill(trial, chance)
                elif what == "stop":
                    self._stop(trial, chance)
                else:
                    self._restart(trial, FAST if restarts % 2 else IMMEDIATE)
                    restarts += 1
                trial.pause(chance.uniform(0.0, 0.2))
            if moves != seen:
                seen, quiet_since = moves, time.monotonic()
            elif time.monotonic() - quiet_since > self._quiet_seconds:
                self._problems.append(
                    f"nothing has happened for {self._quiet_seconds:g} s: {runs - ended} runs are open"
                )
                break
            trial.pause(0.1 if trial.size.short else 0.5)
        if struck < len(blows):
            self._problems.append(f"the runs were over after {struck} of {len(blows)} blows")

    def _progress(self, trial: Trial) -> tuple[int, int, int]:
        """How many runs have ended and steps are recorded, and a number that grows with everything that happens."""
        with trial.books() as books:
            row = books.execute(
                """
                select count(*) filter (where status = 'completed' and task_type <> 'ship') as ended,
                  (select count(*) from pgsched.durable_steps where finished_at is not null) as recorded,
                  coalesce(sum(fencing_token), 0) as moves
                from pgsched.tasks where task_type in ('order', 'order_plain', 'ship')
                """
            ).fetchone()
        assert row is not None
        return int(row["ended"]), int(row["recorded"]), int(row["moves"])

    def _insert(self, trial: Trial, count: int) -> dict[int, int]:
        """Make runs, and with some the event that they wait for; returns their numbers by their ids."""
        first = len(self._ids)
        with trial.books() as books, books.transaction():
            rows = books.execute(
                """
                insert into pgsched.tasks (task_type, payload, max_attempts, backoff, backoff_delay, idempotency_key)
                select case when n %% 4 = 3 then 'order_plain' else 'order' end,
                  jsonb_build_object('number', n, 'seconds', case when n %% %s = 0 then %s::float8 else %s::float8 end),
                  1000, 'fixed', '100 ms', 'run ' || n
                from generate_series(%s::integer, %s::integer) n
                returning id, (payload ->> 'number')::integer as number
                """,
                (self._slow, SLOW_STEP_SECONDS, STEP_SECONDS, first, first + count - 1),
            ).fetchall()
            made = {int(row["id"]): int(row["number"]) for row in rows}
            send_with(books, [task_id for task_id, number in made.items() if moment_of(number) == "before"])
        self._ids += made
        trial.expect(list(made))
        return made

    def _kill(self, trial: Trial, chance: random.Random) -> None:
        ready = [place for place in range(trial.crew.count) if trial.crew.is_ready(place)]
        while not ready:
            trial.pause(0.1)
            ready = [place for place in range(trial.crew.count) if trial.crew.is_ready(place)]
        place = chance.choice(ready)
        trial.crew.kill(place)
        with trial.books() as books:
            self._hits += holds_tasks(books, trial.crew.workers[place].pid)
        trial.crew.replace(place)

    def _stop(self, trial: Trial, chance: random.Random) -> None:
        worker = trial.crew.workers[chance.randrange(trial.crew.count)]
        worker.signal(signal.SIGSTOP)
        try:
            trial.pause(trial.size.lease * chance.uniform(1.2, 1.6))
        finally:
            worker.signal(signal.SIGCONT)

    def _restart(self, trial: Trial, how: signal.Signals) -> None:
        assert trial.server is not None
        trial.crew.wait_until_ready()  # one that starts while there is no server ends, and says so
        trial.server.end(how)
        trial.server.start()

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books:
            calls = read_calls(books, trial.folder)
            broken = broken_rules(books, RULES, {})
            row = books.execute(
                "select count(*) as repeated from (select from calls group by task_id, step having count(*) > 1) r"
            ).fetchone()
            kinds = books.execute(
                "select count(*) filter (where status = 'lost') as lost from pgsched.executions"
                " where task_type in ('order', 'order_plain')"
            ).fetchone()
        assert row is not None
        assert kinds is not None
        self._told.append(
            f"{calls:,} calls of steps, {calls - 5 * len(self._ids):,} beyond the first of each"
            f" ({row['repeated']:,} steps); {kinds['lost']:,} attempts were lost."
        )
        yield from self._problems
        if not self._hits:
            yield "no kill hit a running task: the trial shows nothing"
        for rule, (count, rows) in broken.items():
            yield f"broken: {rule}: {count} rows, such as {[tuple(one.values()) for one in rows]}"

    def tell(self) -> Iterable[str]:
        return self._told
