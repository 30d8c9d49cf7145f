"""The steps, sleeps and waits of a durable run, each as its context asks for it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from random import random
from time import monotonic
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

from pgsched.domain.backoff import retry_delay
from pgsched.domain.durable import Ended, Name, Record, Step
from pgsched.domain.errors import ChildFailed, Discard, DurableError, EventTimeout, InvalidTask, Retry, StepFailed
from pgsched.domain.interval import Interval
from pgsched.domain.json_text import encode_json
from pgsched.domain.storable import storable
from pgsched.domain.task_spec import TaskSpec, json_values
from pgsched.domain.validation import RULES, Duration, interval_of
from pgsched.execution.checkpoints import StepTransaction
from pgsched.execution.durable_run import DurableRun
from pgsched.execution.handler_types import HandlerTypes, types_of
from pgsched.execution.outcomes import completed, describe

MAX_ATTEMPTS = 3
BACKOFF = "exponential"
BACKOFF_DELAY, BACKOFF_MAX = 5.0, 3600.0
"""How a step is tried again unless it says otherwise: as a task is."""
MAX_ERROR_CHARACTERS = 8192


class StepRules(NamedTuple):
    """How often a step is tried."""

    max_attempts: int = MAX_ATTEMPTS
    backoff: str = BACKOFF
    backoff_delay: float = BACKOFF_DELAY
    backoff_max: float = BACKOFF_MAX

    def delay(self, attempts: int) -> float:
        """Return the seconds before the attempt after so many."""
        return retry_delay(self.backoff, attempts, self.backoff_delay, self.backoff_max, random)


def rules_of(
    max_attempts: int | None, backoff: str | None, backoff_delay: Duration | None, backoff_max: Duration | None
) -> StepRules:
    """Return the rules that some options make. Raises InvalidTask."""
    return StepRules(
        MAX_ATTEMPTS if max_attempts is None else RULES["max_attempts"].check("max_attempts", max_attempts),
        BACKOFF if backoff is None else RULES["backoff"].check("backoff", backoff),
        BACKOFF_DELAY if backoff_delay is None else seconds_of("backoff_delay", backoff_delay),
        BACKOFF_MAX if backoff_max is None else seconds_of("backoff_max", backoff_max),
    )


def seconds_of(field: str, value: Duration) -> float:
    """Return a duration in seconds, as PostgreSQL counts days and months. Raises InvalidTask."""
    interval: Interval = interval_of(field, value)
    return max(interval.seconds, 0.0)


@dataclass(eq=False)
class StepCall:
    """One step that runs a function: ask :meth:`ready` before each attempt, and tell what came of it."""

    run: DurableRun
    name: str
    key: str
    function: Callable[..., Any]
    rules: StepRules
    recorded: InitVar[Step | None]
    """What was recorded of it, if it has not been completed."""
    result: str | None = None
    """What the function has returned, as JSON text, once the step is not ready any more."""
    attempts: int = 0
    _over: bool = False
    _wakes_at: datetime | None = None
    _started: float = 0.0

    def __post_init__(self, recorded: Step | None) -> None:
        """Raises StepFailed where it has failed for good."""
        if recorded is not None and recorded.status == "failed":
            raise StepFailed(self.name, recorded.error or "", self.key)
        if recorded is not None:
            self.attempts = recorded.attempts
            self._wakes_at = recorded.wakes_at

    @property
    def known(self) -> Name:
        """Its name and key."""
        return self.name, self.key

    async def ready(self) -> bool:
        """Return whether the function is to be called now; False: the step has its :attr:`result`.

        Waits for the backoff of a failed attempt, for which the run may be suspended. Raises StepFailed.
        """
        run = self.run
        if self._over:
            return False
        if self._wakes_at is not None:
            if self._wakes_at > run.now():
                record = run.record_of(self.known, "failing", finished=False, wakes_at=self._wakes_at)
                await run.wait(None, self._wakes_at, record)
            self._wakes_at = None
        await run.write_before()
        run.begin()
        self._started = monotonic()
        return True

    async def succeeded(self, value: object) -> None:
        """The function has returned this: record it."""
        try:
            record = self.completed(value)
        except Exception as error:  # noqa: BLE001 - what cannot be kept is a failure of the step
            await self.failed(error)
            return
        try:
            await self.run.record(record)
        finally:
            self.run.end()
        self._over = True

    def completed(self, value: object) -> Record:
        """Return the record of a success. Raises DurableError for what cannot be recorded."""
        outcome = completed(value, self._started, _types_of(self.function))
        if outcome.status != "completed":
            raise DurableError((outcome.error or "").split("\n", 1)[0])
        if outcome.warning is not None:
            _refuse_large(value)  # of which only the beginning would be recorded
        self.result = outcome.result
        return self.run.record_of(
            self.known, "completed", attempts=self.attempts + 1, result=outcome.result, error=None, wakes_at=None
        )

    async def failed(self, error: BaseException) -> None:
        """The function has raised this: it is tried again later, or the step has failed for good: raises StepFailed."""
        run = self.run
        self.attempts += 1
        text = storable(describe(error), MAX_ERROR_CHARACTERS)
        first = text.split("\n", 1)[0]
        try:
            if self.attempts >= self.rules.max_attempts or isinstance(error, Discard):
                await run.record(run.record_of(self.known, "failed", attempts=self.attempts, error=first))
                raise StepFailed(self.name, first, self.key) from error
            delay = self.rules.delay(self.attempts)
            if isinstance(error, Retry) and error.delay is not None:
                delay = error.delay
            self._wakes_at = run.now() + timedelta(seconds=delay)
            await run.record(
                run.record_of(
                    self.known,
                    "failing",
                    finished=False,
                    attempts=self.attempts,
                    error=first,
                    wakes_at=self._wakes_at,
                )
            )
        finally:
            run.end()

    def cancelled(self) -> None:
        """The call was cancelled, or lost: nothing of it is recorded."""
        self.run.end()

    async def commit(self, transaction: StepTransaction, value: object) -> None:
        """Record a success in the transaction that the function has written in. Raises as :meth:`completed`."""
        await transaction.commit([self.completed(value)])
        self.run.recorded = True
        self.run.end()
        self._over = True


def value_of(text: str | None) -> Any:
    """Return what was recorded as JSON text."""
    return None if text is None else json.loads(text)


def decoded(function: Callable[..., Any], text: str | None) -> Any:
    """Return a recorded result as the return annotation of its function has it. Raises ResultMismatch."""
    stored = value_of(text)
    types = _types_of(function)
    return stored if types is None else types.decode_result(stored)


async def sleep(run: DurableRun, name: str, key: str, duration: Duration) -> None:
    """Return when the time is over that began when it was asked for first."""
    seconds = seconds_of("duration", duration)
    step = run.ask(name, key, "sleep")
    if step is not None and step.status == "completed":
        return
    wakes_at = None if step is None else step.wakes_at
    if wakes_at is None:
        wakes_at = run.now() + timedelta(seconds=seconds)
    while wakes_at > run.now():
        await run.wait(None, wakes_at, run.record_of((name, key), "waiting", finished=False, wakes_at=wakes_at))
    run.record_later(run.record_of((name, key), "completed", wakes_at=wakes_at))


async def wait_for(run: DurableRun, event: str, key: str, timeout: Duration | None) -> str | None:
    """Return the payload of the next event of a name, as JSON text. Raises EventTimeout."""
    seconds = None if timeout is None else seconds_of("timeout", timeout)
    step = run.ask(event, key, "event")
    known = (event, key)
    if step is not None:
        if step.status == "completed":
            return step.result
        if step.status == "failed":
            raise EventTimeout(event, key)
    if step is not None and step.status == "waiting":
        wakes_at = step.wakes_at
    else:
        wakes_at = None if seconds is None else run.now() + timedelta(seconds=seconds)
    while True:
        found = run.mailbox.take(event)
        is_late = wakes_at is not None and wakes_at <= run.now()
        if found is None and (is_late or run.mailbox.may_have_more(event)):
            await run.look_now()  # a notification may have been lost, or may still be on its way
            found = run.mailbox.take(event)
        if found is not None:
            await run.record(run.record_of(known, "completed", event_id=found.id, result=found.payload, wakes_at=None))
            return found.payload
        if is_late:
            await run.record(run.record_of(known, "failed", error="no event arrived in time", wakes_at=wakes_at))
            raise EventTimeout(event, key)
        waiting = run.record_of(known, "waiting", finished=False, wakes_at=wakes_at)
        await run.wait(f"event:{event}", wakes_at, waiting)


async def run_child(
    run: DurableRun,
    name: str,
    key: str,
    task_type: str,
    payload: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    *,
    cancels: bool,
) -> Any:
    """Return the result of a child. Raises ChildFailed."""
    known = (name, key)
    step = run.ask(name, key, "child")
    child_id = None
    if step is not None:
        if step.status == "completed":
            return value_of(step.result)
        if step.status == "failed":
            _child_failed(step.name, step.key, step.error or "")
        child_id = step.child_id if step.status == "waiting" else None
    if child_id is None:
        for given in ("idempotency_key", "parent_id", "cron", "every"):
            if options.get(given) is not None:
                raise DurableError(f"the child {name!r} of a durable run cannot have {given}")
        encoded = None if payload is None else run.checkpoints.encode(task_type, payload)
        spec = TaskSpec(task_type=task_type, payload=encoded, **options)
        await run.write_before()
        run.begin()
        try:
            child_id = await run.checkpoints.start_child(run.id, known, json_values(spec.arguments()), cancels=cancels)
        finally:
            run.end()
        run.recorded = True
        run.record_of(known, "waiting", finished=False, child_id=child_id)
    while (ended := run.ended(child_id)) is None:
        await run.wait(f"child:{child_id}", None, run.record_of(known, "waiting", finished=False))
    if ended.status == "completed":
        await run.record(run.record_of(known, "completed", result=ended.result))
        return value_of(ended.result)
    error = f"task {child_id} is {_told(ended)}"
    await run.record(run.record_of(known, "failed", error=error))
    return _child_failed(name, key, error)


def _told(ended: Ended) -> str:
    reason = (ended.error or "").split("\n", 1)[0]
    return f"{ended.status}: {reason}" if reason else ended.status


def _child_failed(name: str, key: str, error: str) -> NoReturn:
    status = next((word for word in ("cancelled", "deleted") if f" is {word}" in error), "dead")
    raise ChildFailed(name, error, key, status=status)


def _refuse_large(value: object) -> None:
    try:
        encode_json(value, "result of a step")
    except InvalidTask as error:
        if "exceed" in error.rule:
            raise DurableError(str(error)) from None


_KNOWN: WeakKeyDictionary[Any, HandlerTypes | None] = WeakKeyDictionary()


def _types_of(function: Callable[..., Any]) -> HandlerTypes | None:
    """What the annotation of a function's result says."""
    try:
        if function in _KNOWN:
            return _KNOWN[function]
    except TypeError:  # nothing that can be remembered
        return None
    try:
        annotation = inspect.signature(function).return_annotation
        found = types_of(getattr(function, "__qualname__", "step"), function, {}, annotation)
    except (TypeError, ValueError):
        found = None
    _KNOWN[function] = found
    return found
