"""The steps, sleeps and waits of a durable run, as its context uses them."""

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
"""The default retry policy of a step, the same as a task's."""
MAX_ERROR_CHARACTERS = 8192


class StepRules(NamedTuple):
    """The retry policy of a step."""

    max_attempts: int = MAX_ATTEMPTS
    backoff: str = BACKOFF
    backoff_delay: float = BACKOFF_DELAY
    backoff_max: float = BACKOFF_MAX

    def delay(self, attempts: int) -> float:
        """Return the seconds before the attempt that follows this many."""
        return retry_delay(self.backoff, attempts, self.backoff_delay, self.backoff_max, random)


def rules_of(
    max_attempts: int | None, backoff: str | None, backoff_delay: Duration | None, backoff_max: Duration | None
) -> StepRules:
    """Return the policy for some options. Raises InvalidTask."""
    return StepRules(
        MAX_ATTEMPTS if max_attempts is None else RULES["max_attempts"].check("max_attempts", max_attempts),
        BACKOFF if backoff is None else RULES["backoff"].check("backoff", backoff),
        BACKOFF_DELAY if backoff_delay is None else seconds_of("backoff_delay", backoff_delay),
        BACKOFF_MAX if backoff_max is None else seconds_of("backoff_max", backoff_max),
    )


def seconds_of(field: str, value: Duration) -> float:
    """Return a duration in seconds, with PostgreSQL's length of days and months. Raises InvalidTask."""
    interval: Interval = interval_of(field, value)
    return max(interval.seconds, 0.0)


@dataclass(eq=False)
class StepCall:
    """One step that runs a function: check :meth:`ready` before each attempt, and report its result."""

    run: DurableRun
    name: str
    key: str
    function: Callable[..., Any]
    rules: StepRules
    recorded: InitVar[Step | None]
    """Its record, if it has not completed."""
    result: str | None = None
    """The function's result as JSON text, once the step is no longer ready."""
    attempts: int = 0
    _over: bool = False
    _wakes_at: datetime | None = None
    _started: float = 0.0

    def __post_init__(self, recorded: Step | None) -> None:
        """Raises StepFailed when it has failed for good."""
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
        """Return whether to call the function now; when False, the step has its :attr:`result`.

        Waits for the backoff of a failed attempt, during which the run may be suspended. Raises StepFailed.
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
        """Record what the function has returned."""
        try:
            record = self.completed(value)
        except Exception as error:  # noqa: BLE001 - a result that cannot be stored fails the step
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
        """Record what the function has raised: it is retried later. Raises StepFailed after the last attempt."""
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
        """Note that the call was cancelled or lost: nothing of it is recorded."""
        self.run.end()

    async def commit(self, transaction: StepTransaction, value: object) -> None:
        """Record a success in the transaction that the function has written in. Raises like :meth:`completed`."""
        await transaction.commit([self.completed(value)])
        self.run.recorded = True
        self.run.end()
        self._over = True


def value_of(text: str | None) -> Any:
    """Return the recorded result as JSON text."""
    return None if text is None else json.loads(text)


def decoded(function: Callable[..., Any], text: str | None) -> Any:
    """Return a recorded result, decoded by the return annotation of its function. Raises ResultMismatch."""
    stored = value_of(text)
    types = _types_of(function)
    return stored if types is None else types.decode_result(stored)


async def sleep(run: DurableRun, name: str, key: str, duration: Duration) -> None:
    """Return when a time limit expires that started with the first call."""
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
    """The type from the annotation of a function's result."""
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
