"""The durable runs of one worker: opened when their attempts start, notified, recorded, suspended."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from pgsched.db.session import Session, Sessions
from pgsched.db.transaction import CommitUnanswered, NotCommitted, Pool, Transaction, begin
from pgsched.db.worker import durable
from pgsched.domain.durable import Ended, Event, Name, Record, Run, RunId, Suspension
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.durable_run import DurableRun
from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger
from pgsched.worker.checkpoints import Checkpointer
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.leased_tasks import LeasedTask, LeasedTasks
from pgsched.worker.loops import own_task, retry_until_success
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

LIVE_SECONDS = 2.0
"""How long a wait keeps its slot in the hope of a quick answer while other slots are free."""
WAKE_SECONDS, WAKE_AGAIN_SECONDS = 20.0, 0.2
"""How often to look for waits that have timed out: at least, and at most when one is about to."""
MOST_WOKEN = 1_000
"""Maximum number of them that are woken per turn."""
MAX_LOADED = 200
"""Maximum number of runs that are loaded in one statement."""


class Loaded(NamedTuple):
    """The stored state of a task's run."""

    run: Run | None
    mailboxes: Mapping[int, Sequence[Event]]
    """By the number of the tick."""


@dataclass(kw_only=True, eq=False, repr=False)
class DurableRuns:
    """What the runs of a worker share."""

    worker: UUID
    registry: Registry
    session: Session
    questions: Sessions
    transactions: Pool
    leased_tasks: LeasedTasks
    clock: DatabaseClock
    counts: WorkerMetrics
    has_room: Callable[[], bool]
    """Whether slots are free and the worker continues."""
    waking: Waking
    span: Callable[[str], AbstractContextManager[object]] = nullcontext
    """The context manager around a function that a step of this name calls."""
    _runs: dict[int, DurableRun] = field(default_factory=dict, init=False)
    _opening: dict[int, bool] = field(default_factory=dict, init=False)
    """By the ids of tasks whose runs are being loaded: whether something has arrived meanwhile."""
    _wanted: dict[int, asyncio.Future[Loaded]] = field(default_factory=dict, init=False)
    _loading: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._checkpointer = Checkpointer(
            session=self.session, worker=self.worker, counts=self.counts, on_lost=self.lost
        )

    async def open(self, leased: LeasedTask, handler: Handler) -> DurableRun:
        """Return the run that an attempt belongs to, with its records. Waits for the database."""
        task = leased.task
        ask = partial(self._load, task.id)
        self._opening[task.id] = False
        try:
            loaded = await retry_until_success("durable_run", task, ask, self.counts)
        finally:
            has_news = self._opening.pop(task.id, False)
        tick = task.execution_count + 1
        known = loaded.run if loaded.run is not None and loaded.run.tick_number == tick else None
        run_id = RunId(
            task.id,
            task.fencing_token,
            tick,
            self.clock.now() if known is None else known.began_at,
            self.registry.version if known is None else known.code_version,
        )
        run = DurableRun(
            id=run_id, task=task, loaded=known, handler=handler, checkpoints=_Port(self, leased), now=self.clock.now
        )
        run.mailbox.receive(loaded.mailboxes.get(tick, ()))
        self._runs[task.id] = run
        if has_news:
            run.told()
        return run

    def leave(self, run: DurableRun) -> None:
        """End the attempt."""
        run.close()
        if self._runs.get(run.id.task_id) is run:
            del self._runs[run.id.task_id]

    def told(self, task_id: int) -> None:
        """Note that an event arrived for a task, or that a child of it has ended."""
        if (run := self._runs.get(task_id)) is not None:
            run.told()
        elif task_id in self._opening:
            self._opening[task_id] = True

    def look_again(self) -> None:
        """Note that notifications may have been missed for a while."""
        for run in list(self._runs.values()):
            run.told()
        self._opening.update(dict.fromkeys(self._opening, True))

    def hurry(self) -> None:
        """Suspend whatever waits, because the worker stops."""
        for run in list(self._runs.values()):
            run.hurry()

    def lost(self, run: RunId) -> None:
        """Cancel the handler of a run whose claim was lost; nothing more of it is written."""
        leased = self.leased_tasks.get(run.task_id)
        if leased is not None and leased.task.fencing_token == run.fencing_token:
            self.counts.fenced += 1
            log.warning("step_fenced", task_id=run.task_id, hint="the task was cancelled, or its lease expired")
            self.leased_tasks.abandon(leased)

    def suspended(self, suspension: Suspension) -> None:
        """Note that a run is about to be suspended; if it wakes at a time, the upkeep is informed."""
        if suspension.wakes_at is not None:
            self.waking.expect((suspension.wakes_at - self.clock.now()).total_seconds())

    async def close(self) -> None:
        """Close the connection."""
        await self._checkpointer.close()

    async def record(self, records: Sequence[Record]) -> None:
        """Write records. Cancelled when the claim was lost."""
        await self._checkpointer.write(records)

    async def look(self, run: RunId) -> tuple[Sequence[Event], Mapping[int, Ended]]:
        """Return the events that no wait has consumed, and the children that have ended."""
        leased = self.leased_tasks.get(run.task_id)
        if leased is None:
            return (), {}
        loaded = await retry_until_success("mailbox", leased.task, partial(self._load, run.task_id), self.counts)
        return loaded.mailboxes.get(run.tick_number, ()), {} if loaded.run is None else loaded.run.children

    async def _load(self, task_id: int) -> Loaded:
        wanted = self._wanted.get(task_id)
        if wanted is None:
            wanted = self._wanted[task_id] = asyncio.get_running_loop().create_future()
            if self._loading is None or self._loading.done():
                self._loading = own_task(self._load_all(), name="pgsched durable runs")
        return await asyncio.shield(wanted)

    async def _load_all(self) -> None:
        await asyncio.sleep(0)  # those that start in this turn are loaded together
        while self._wanted:
            ids = list(self._wanted)[:MAX_LOADED]
            asked = {task_id: self._wanted.pop(task_id) for task_id in ids}
            try:
                runs, events, children = await self.questions.fetch(durable.load_commands(ids))
                found = durable.read_runs((runs, children))
                mailboxes: dict[int, dict[int, list[Event]]] = {}
                for (task_id, tick), sent in durable.read_mailboxes(events).items():
                    mailboxes.setdefault(task_id, {})[tick] = sent
            except BaseException as error:
                for wanted in asked.values():
                    if not wanted.done():
                        wanted.set_exception(error if isinstance(error, Exception) else DatabaseUnavailable("stopped"))
                        wanted.exception()  # seen, even if nobody waits any more
                if not isinstance(error, Exception):
                    raise
                continue
            for task_id, wanted in asked.items():
                if not wanted.done():
                    wanted.set_result(Loaded(found.get(task_id), mailboxes.get(task_id, {})))


@dataclass(eq=False, repr=False)
class _Port:
    """What one run needs of the shared state."""

    runs: DurableRuns
    leased: LeasedTask

    async def record(self, records: Sequence[Record]) -> None:
        await self.runs.record(records)

    async def look(self, run: RunId) -> tuple[Sequence[Event], Mapping[int, Ended]]:
        return await self.runs.look(run)

    def encode(self, task_type: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.runs.registry.encode(task_type, payload)

    def span(self, name: str) -> AbstractContextManager[object]:
        return self.runs.span(name)

    def live_seconds(self) -> float:
        runs = self.runs
        return LIVE_SECONDS if runs.counts.listener_connected and runs.has_room() else 0.0

    async def start_child(self, run: RunId, name: Name, task: Mapping[str, Any], *, cancels: bool) -> int:
        runs = self.runs
        named = sha256(json.dumps(name).encode()).hexdigest()[:32]
        key = f"durable:{run.task_id}:{run.fencing_token}:{named}"
        child = {**task, "idempotency_key": key, "parent_id": run.task_id}
        command = durable.start_child(runs.worker, run, name, child, cancels=cancels)
        (rows,) = await retry_until_success(
            "child", self.leased.task, partial(runs.questions.fetch, [command]), runs.counts
        )
        child_id: int | None = rows[0][0]
        if child_id is None:
            runs.lost(run)
            raise asyncio.CancelledError("the claim was lost")
        return child_id

    @asynccontextmanager
    async def transaction(self, run: RunId, *, plain: bool) -> AsyncIterator[_StepTransaction]:
        start = partial(begin, self.runs.transactions, plain=plain)
        transaction = await retry_until_success("transaction", self.leased.task, start, self.runs.counts)
        try:
            yield _StepTransaction(self.runs, run, transaction)
            await transaction.settle()
            await transaction.rollback()
        except BaseException:
            transaction.revoke()
            await transaction.rollback()
            raise
        finally:
            await transaction.release()


@dataclass(eq=False, repr=False)
class _StepTransaction:
    runs: DurableRuns
    run: RunId
    transaction: Transaction

    @property
    def connection(self) -> Any:
        return self.transaction.handler_connection

    async def commit(self, records: Sequence[Record]) -> None:
        await self.transaction.settle()
        problem = self.transaction.revoke()
        if problem is not None:
            raise NotCommitted(problem)
        recorded = await self.transaction.run(durable.record_steps(self.runs.worker, records))
        if len(recorded) < len(records):
            self.runs.lost(self.run)
            raise asyncio.CancelledError("the claim was lost")
        try:
            await self.transaction.commit()
        except CommitUnanswered as error:
            self.runs.counts.database_errors += 1
            hint = "either the step is recorded, or it runs again when the lease has expired"
            log.warning("commit_unanswered", task_id=self.run.task_id, error=str(error), hint=hint)
            self.runs.lost(self.run)
            raise asyncio.CancelledError("it is unknown whether the step was recorded") from error


@dataclass(kw_only=True, eq=False, repr=False)
class Waking:
    """Wakes suspended runs whose waits have timed out, whichever worker suspended them."""

    session: Session

    def __post_init__(self) -> None:
        self._look_at = 0.0

    def expect(self, seconds: float) -> None:
        """Note that a wait times out after this many seconds."""
        self._look_at = min(self._look_at, monotonic() + max(seconds, 0.0))

    async def run_once(self) -> None:
        """Wake those that have timed out, if it is time to look or there were more. Raises DatabaseUnavailable."""
        if monotonic() < self._look_at:
            return
        number, next_in = await durable.wake_suspended(self.session, MOST_WOKEN)
        if number:
            log.debug("runs_woken", count=number)
        if number < MOST_WOKEN:
            pause = WAKE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - not all at once
            self._look_at = monotonic() + min(pause, max(pause if next_in is None else next_in, WAKE_AGAIN_SECONDS))
