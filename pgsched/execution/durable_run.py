"""One durable run within one attempt: returns recorded results, records new ones, and decides when to suspend.

Every method is called on the event loop. The database is behind the ``Checkpoints`` that a worker provides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Any, NoReturn

from pgsched.domain.attempt import Claimed, Outcome
from pgsched.domain.durable import MAX_NAME, MAX_STEPS, Ended, Name, Record, Run, RunId, Step, Suspension
from pgsched.domain.durable_failures import failed_steps
from pgsched.domain.errors import DurableError, Suspended
from pgsched.domain.json_text import encode_json
from pgsched.execution.checkpoints import Checkpoints
from pgsched.execution.handler import Handler
from pgsched.execution.mailbox import Mailbox

UNKNOWN_SECONDS = 0.1
"""How long other branches of a handler may do other work before a sleep suspends it."""
INSIDE: ContextVar[str | None] = ContextVar("pgsched step", default=None)
"""The step whose function the running code belongs to."""
LOOK_SECONDS = 5.0
"""How often a wait polls the table while another branch runs, whatever notifications arrive."""
LEAST_SECONDS = 0.1
"""A wait shorter than this is not worth a suspension, and the database's time is not known more precisely."""


@dataclass(eq=False)
class _Wait:
    """A wait that has not ended yet."""

    awaits: str | None
    wakes_at: datetime | None
    record: Record
    over: asyncio.Future[None]


class DurableRun:
    """What the handler's context is built from."""

    def __init__(
        self,
        *,
        id: RunId,
        task: Claimed,
        loaded: Run | None,
        handler: Handler,
        checkpoints: Checkpoints,
        now: Callable[[], datetime],
    ) -> None:
        """``loaded``: the records; None for a run that starts. ``now`` is the database's time."""
        self._task = task
        self.id = id
        self.checkpoints = checkpoints
        self.now = now
        self.resumed = loaded is not None
        self.recorded = self.resumed
        """Whether the table has a row for the run."""
        self.suspension: Suspension | None = None
        self.is_async = handler.is_async
        self._handler = handler
        self._steps: dict[Name, Step] = {(step.name, step.key): step for step in (loaded.steps if loaded else ())}
        self._unasked = dict.fromkeys(self._steps)
        self._asked: set[Name] = set()
        self.mailbox = Mailbox()
        self._children: dict[int, Ended] = {} if loaded is None else dict(loaded.children)
        self._unwritten: list[Record] = []
        self._waits: list[_Wait] = []
        self._active = 0
        self._news = False
        self._looked_at = monotonic()
        self._quiet_since: float | None = None
        self._timer: asyncio.Handle | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._loop = asyncio.get_running_loop()

    # Called by the worker.

    def bind(self, handler: Handler, call: Callable[[Any], Any]) -> Handler:
        """Return the handler within this run; ``call`` runs a coroutine of it for a plain function, from its thread."""
        function = handler.function

        async def run(**arguments: Any) -> Any:
            self._main = asyncio.current_task()
            try:
                value = await function(**arguments)
            except Exception as error:
                await self._revive(error)
                raise
            await self._write()
            return value

        def run_plain(**arguments: Any) -> Any:
            try:
                value = function(**arguments)
            except Exception as error:
                call(self._revive(error))
                raise
            call(self._write())
            return value

        return replace(handler, function=run if handler.is_async else run_plain)

    def outcome_of(self, outcome: Outcome) -> Outcome:
        """Return the outcome of an attempt, given the state of the run."""
        if self.suspension is not None and outcome.status != "timed_out":
            return Outcome(
                "suspended", outcome.started, outcome.finished, suspension=self.suspension, durable_tick=self._tick
            )
        return outcome._replace(durable_tick=self._tick)

    @property
    def _tick(self) -> int:
        return self.id.tick_number if self.recorded else 0

    def unasked(self) -> tuple[str, ...]:
        """Return the recorded steps that the code has not reached."""
        return tuple(name if not key else f"{name} {key}" for name, key in self._unasked)

    def told(self) -> None:
        """Note that an event arrived or a child ended: look now, or when somebody waits."""
        self._news = True
        self._settle()

    def hurry(self) -> None:
        """Note that the worker stops, or has no room: a wait must not keep its slot."""
        self._settle()

    def close(self) -> None:
        """Note that the attempt is over: nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
        for wait in self._waits:
            wait.over.cancel()

    # What steps and waits are built from.

    def ask(self, name: str, key: str, kind: str) -> Step | None:
        """Return the record under a name, which a run may use once. Raises DurableError."""
        self._refuse_ended()
        known = (name, key)
        if (inside := INSIDE.get()) is not None:
            raise DurableError(
                f"step {inside!r} asks for {name!r}: only the handler itself may, not the function of a step"
            )
        for what, given in (("name", name), ("key", key)):
            if not isinstance(given, str) or len(given) > MAX_NAME or (not given and what == "name"):
                rule = f"the {what} of a step must be text of 1 to {MAX_NAME} characters"
                raise DurableError(f"{rule}, got {given!r:.100}")
        if known in self._asked:
            named = repr(name) if not key else f"{name!r} with the key {key!r}"
            raise DurableError(f"step {named} is asked for twice in one run: give each a key of its own (key=…)")
        step = self._steps.get(known)
        if step is None and len(self._steps) >= MAX_STEPS:
            raise DurableError(f"a run has at most {MAX_STEPS:,} steps: ctx.restart_with() begins another run")
        self._asked.add(known)
        self._unasked.pop(known, None)
        if step is None:
            # So that further ones are counted; it is in no table yet.
            self._steps[known] = Step(name, key, kind, "waiting", started_at=self.now())
        elif step.kind != kind:
            raise DurableError(f"step {name!r} was recorded as a {step.kind} in this run, and is a {kind} now")
        elif step.result is not None:
            self._steps[known] = step._replace(result=None)  # a name may be used once
        return step

    def knows(self, name: str) -> bool:
        """Whether a step without a key was recorded under a name."""
        return (name, "") in self._steps

    @property
    def replaying(self) -> bool:
        """Whether there are recorded steps that the code has not reached yet."""
        return bool(self._unasked)

    def record_of(
        self, known: Name, status: str, *, finished: bool = True, event_id: int | None = None, **changes: Any
    ) -> Record:
        """Return the record of a step, with its changes."""
        now = self.now()
        step = self._steps[known]
        step = step._replace(status=status, started_at=step.started_at or now, **changes)
        self._steps[known] = step if step.result is None else step._replace(result=None)
        return Record(self.id, step, now if finished else None, event_id)

    def record_later(self, record: Record) -> None:
        """Record something together with the next record, or with the end of the attempt."""
        self._unwritten.append(record)

    async def record(self, *records: Record) -> None:
        """Record something, and what was deferred, in one transaction."""
        written = [*self._unwritten, *records]
        self._unwritten.clear()
        self._active += 1
        try:
            await self.checkpoints.record(written)
        finally:
            self._active -= 1
            self._settle()
        self.recorded = True

    async def write_before(self) -> None:
        """Write what was deferred, before a function runs that may depend on it."""
        if self._unwritten:
            await self.record()

    def begin(self) -> None:
        """Note that the function of a step starts: the run is not suspended meanwhile."""
        self._refuse_ended()
        self._active += 1
        self._quiet_since = None

    def end(self) -> None:
        """Note that it has ended."""
        self._active -= 1
        self._settle()

    async def wait(self, awaits: str | None, wakes_at: datetime | None, record: Record) -> None:
        """Wait until the time has come or an awaited event has arrived; meanwhile the run may be suspended."""
        self._refuse_ended()
        if self._active:  # other branches may run for long: if the worker is lost, the time is counted from here
            await self.record(record)
        wait = _Wait(awaits, wakes_at, record, self._loop.create_future())
        self._waits.append(wait)
        self._quiet_since = None
        self._settle()
        try:
            await wait.over
        finally:
            self._waits.remove(wait)
            self._settle()

    async def look_now(self) -> None:
        """Query the table: the latest arrivals may not be known yet."""
        self._active += 1
        try:
            events, children = await self.checkpoints.look(self.id)
            self.mailbox.receive(events)
            self._children.update(children)
        finally:
            self._active -= 1
            self._settle()

    def ended(self, child_id: int) -> Ended | None:
        """Return the state of an ended child; None while it has not ended."""
        return self._children.get(child_id)

    def restart_with(self, payload: Mapping[str, Any] | None) -> NoReturn:
        """End the run; another one starts with the payload, or with the task's."""
        self._refuse_ended()
        if payload is not None and self._task.schedule_type != "one_time":
            raise DurableError("restart_with takes no payload here: that of a schedule is the payload of all its ticks")
        given = dict(self._task.payload if payload is None else payload)
        self._handler.check(given)
        types = self._handler.types
        encoded = given if types is None or payload is None else types.encode(given)
        text = encode_json(dict(encoded), "payload")
        self.suspension = Suspension((), None, tuple(self._unwritten), text)
        raise Suspended

    # How it decides.

    def _refuse_ended(self) -> None:
        if self.suspension is not None:
            raise asyncio.CancelledError("the run is suspended") if self.is_async else Suspended

    def _settle(self) -> None:
        """Decide soon, when all branches that can continue have continued."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._timer = None
        if self.suspension is not None or not self._waits:
            return
        if self._refreshing is not None and not self._refreshing.done():
            return  # then it decides again
        if self._news and any(wait.awaits for wait in self._waits):
            self._refresh()
            return
        now = self.now()
        waits = [wait for wait in self._waits if not wait.over.done()]
        due = [wait for wait in waits if self._has_come(wait) or (wait.wakes_at is not None and wait.wakes_at <= now)]
        for wait in due:
            wait.over.set_result(None)
        if due or len(waits) < len(self._waits):
            return
        wakes_at = min((wait.wakes_at for wait in waits if wait.wakes_at is not None), default=None)
        seconds = None if wakes_at is None else (wakes_at - now).total_seconds()
        if not self._active:
            live = self.checkpoints.live_seconds()
            if self._quiet_since is None:
                self._quiet_since = monotonic()
            if seconds is None or seconds > max(live, LEAST_SECONDS):
                left = self._patience(waits, live) - (monotonic() - self._quiet_since)
                if left <= 0:
                    self._suspend(waits, wakes_at)
                    return
                seconds = left if seconds is None else min(left, seconds)
        elif any(wait.awaits for wait in waits):  # beside a branch that may take long; a notification may be lost
            left = self._looked_at + LOOK_SECONDS - monotonic()
            if left <= 0:
                self._refresh()
                return
            seconds = left if seconds is None else min(left, seconds)
        if seconds is not None:
            self._timer = self._loop.call_later(min(seconds, 3600.0), self._look)

    def _patience(self, waits: Sequence[_Wait], live: float) -> float:
        if any(wait.awaits for wait in waits):
            return live
        if len(waits) == 1 and (not self.is_async or self._is_in_main(waits[0])):
            return 0.0  # a handler that waits in its own task does nothing else
        return min(live, UNKNOWN_SECONDS)

    def _is_in_main(self, wait: _Wait) -> bool:
        return self._main is not None and getattr(self._main, "_fut_waiter", None) is wait.over

    def _refresh(self) -> None:
        self._news = False
        self._looked_at = monotonic()
        self._refreshing = asyncio.Task(self.look_now(), loop=self._loop, name="pgsched mailbox")

    def _has_come(self, wait: _Wait) -> bool:
        kind, _, what = (wait.awaits or "").partition(":")
        return self.mailbox.has(what) if kind == "event" else kind == "child" and int(what) in self._children

    def _suspend(self, waits: Sequence[_Wait], wakes_at: datetime | None) -> None:
        awaits = tuple(dict.fromkeys(wait.awaits for wait in waits if wait.awaits is not None))
        records = (*self._unwritten, *(wait.record for wait in waits))
        self._unwritten.clear()
        self.recorded = True
        self.suspension = Suspension(awaits, wakes_at, records, unasked=self.unasked())
        if self.is_async and self._main is not None:
            self._main.cancel()
            return
        for wait in waits:
            wait.over.set_exception(Suspended())

    async def _revive(self, error: BaseException) -> None:
        """Note that the failure of a step ends the attempt: the next one runs the step again."""
        if self.suspension is None:
            failed = [known for known in failed_steps(error) if self._steps[known].status == "failed"]
            again = [self.record_of(known, "failing", finished=False, attempts=0, wakes_at=None) for known in failed]
            if again:
                await self.record(*again)

    async def _write(self) -> None:
        if self._unwritten and self.suspension is None:
            await self.record()
