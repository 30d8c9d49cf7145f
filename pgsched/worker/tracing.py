"""The spans of a worker: one of kind CONSUMER for each attempt, the current one while the handler runs.

An attempt at a one-time task is a child of the task's creation context, and linked to it: the conventions allow that
parent where a span is about one message and nothing else happens around it, as in a worker, and require the link in any
case. A retry is one more span beside it. A tick of a schedule starts a trace of its own, with a link to the creator of
the schedule: a trace that grows for years helps nobody. Retries of the tick belong to the tick's trace, found by the
log line ``trace`` that a failed attempt leaves in its history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any, Final
from uuid import UUID

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Span, SpanKind
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from pgsched.db.session import Sessions
from pgsched.db.worker.workflows import Origin, find_traces, fire_group, trace_steps
from pgsched.domain.attempt import Claimed, Finish, Missed, Outcome
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.runner import run_attempt
from pgsched.observability.logs import get_logger
from pgsched.observability.tracing import SCOPE, SECONDS, UNTRACED, Tracing, carrier_of, context_of, fail, link_to
from pgsched.worker.leased_tasks import CURRENT_ATTEMPT, FINISHING, LeasedTask
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.traces import Parts, Traces

log = get_logger("pgsched.worker")

NOTE = "trace"
"""The message of the log line that names the trace of a failed attempt."""
UNKNOWN = Origin({}, False, None)

Key = tuple[int, int]
"""The id and the fencing token of a claimed task."""


class _TracedMetrics(WorkerMetrics):
    """Ends the span of each attempt that is counted: then its outcome is settled, including that of a transaction."""

    def __init__(self, *, slots: int, ended: Callable[[Claimed, Outcome, Finish], None]) -> None:
        super().__init__(slots=slots)
        self._ended = ended

    def execution(self, task: Claimed, outcome: Outcome, finish: Finish) -> None:
        """Count an attempt that ended."""
        super().execution(task, outcome, finish)
        self._ended(task, outcome, finish)


class WorkerTracing(Traces):
    """The hooks of a worker with tracing."""

    on = True

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._quietly = tracing.quietly
        self._open: dict[Key, tuple[Span, LeasedTask | None]] = {}
        self._origins: dict[Key, Origin] = {}
        self._asking = asyncio.Lock()
        self._parts: Parts
        meter = tracing.meter
        self.processed = meter.create_histogram(
            "messaging.process.duration",
            unit="s",
            description="How long attempts ran.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages", unit="{message}", description="Attempts that handlers began."
        )

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A span around the function that a step of a durable run calls, within that of the attempt."""
        attributes = {"pgsched.step": name}
        tracer = self._tracing.tracer
        span = self._quietly(lambda: tracer.start_span(f"step {name}", attributes=attributes), UNTRACED)
        token = self._quietly(lambda: contexts.attach(trace.set_span_in_context(span)), None)
        try:
            yield
        except BaseException as error:
            kind = type(error).__qualname__
            self._quietly(lambda: fail(span, kind, kind), None)
            raise
        finally:
            if token is not None:
                contexts.detach(token)
            self._quietly(span.end, None)

    def watch(self, parts: Parts) -> None:
        """Receive the worker's other parts; export its metrics through OpenTelemetry as well."""
        self._parts = parts
        self._quietly(lambda: mirror(self._tracing.meter, parts.metrics), None)

    def counts(self, slots: int) -> WorkerMetrics:
        """What counts, and ends spans."""
        return _TracedMetrics(slots=slots, ended=self._ended)

    async def run_attempt(
        self, handler: Handler, payload: dict[str, Any], context: Context | None, *, timeout: float | None, **more: Any
    ) -> None:
        """Run one attempt within a span."""
        leased = CURRENT_ATTEMPT.get()
        assert leased is not None  # slots run attempts  # noqa: S101
        task = leased.task
        key = (task.id, task.fencing_token)
        surroundings, links = await self._placed(task)
        span = self._start("process", task, surroundings, links)
        self._quietly(lambda: self.consumed.add(1, self._measured(task)), None)
        self._open[key] = (span, leased)
        # The time of the look-up does not count for the handler.
        more["started"] = started = monotonic()
        report, is_open = more["report"], handler.transactional

        def reported(outcome: Outcome) -> None:
            nonlocal is_open
            is_open = is_open or outcome.status == "snoozed" or outcome.misfit  # what it becomes is asked first
            report(outcome)

        more["report"] = reported
        token = self._quietly(lambda: contexts.attach(trace.set_span_in_context(span, surroundings)), None)
        try:
            if context is not None:
                if timeout is not None:
                    context.deadline_monotonic = started + timeout
                if handler.executor == "process":
                    context.carry(self._quietly(carrier_of, {}))
            await run_attempt(handler, payload, context, timeout=timeout, **more)
        finally:
            if token is not None:
                contexts.detach(token)
            if not is_open or leased.abandoned:
                self._end_unfinished(key)

    async def fire_group(self, sessions: Sessions, worker: UUID, task: Claimed, missed: Sequence[Missed]) -> int | None:
        """Create the children of a group within a span, which they carry as their origin."""
        surroundings, links = await self._placed(task)
        span = self._start("fire", task, surroundings, links)
        try:
            carrier: dict[str, str] = self._quietly(
                lambda: carrier_of(trace.set_span_in_context(span, surroundings)), {}
            )
            then = trace_steps(task, carrier) if carrier else None
            children = await fire_group(sessions, worker, task, missed, then=then)
            self._quietly(lambda: span.set_attribute("messaging.batch.message_count", children or 0), None)
        except BaseException as error:
            kind = type(error).__qualname__
            self._quietly(lambda: fail(span, kind, kind), None)
            raise
        finally:
            self._quietly(span.end, None)
        return children

    async def _placed(self, task: Claimed) -> tuple[TraceContext, list[trace.Link]]:
        """Return the context in which the span of a task starts, and its links."""
        origin = await self._origin(task)
        nowhere: tuple[TraceContext, list[trace.Link]] = (TraceContext(), [])
        return self._quietly(lambda: _place(origin), nowhere)

    def _start(self, name: str, task: Claimed, surroundings: TraceContext, links: list[trace.Link]) -> Span:
        attributes: dict[str, str | int] = {
            "messaging.system": SCOPE,
            "messaging.destination.name": task.queue,
            "messaging.operation.type": "process",
            "messaging.operation.name": name,
            "messaging.message.id": str(task.id),
            "messaging.client.id": self._parts.worker,
            "pgsched.task_type": task.task_type,
            "pgsched.attempt": task.attempts,
            "pgsched.max_attempts": task.max_attempts,
            "pgsched.scheduled_for": (task.scheduled_for or task.next_run_at).isoformat(),
            "pgsched.fencing_token": task.fencing_token,
        }
        tracer, called = self._tracing.tracer, f"{name} {task.queue}"
        return self._quietly(
            lambda: tracer.start_span(
                called, context=surroundings, kind=SpanKind.CONSUMER, attributes=attributes, links=links
            ),
            UNTRACED,
        )

    async def _origin(self, task: Claimed) -> Origin:
        """Return the origin of a task; queried for all held tasks at once."""
        key = (task.id, task.fencing_token)
        if key not in self._origins:
            async with self._asking:
                if key not in self._origins:
                    await self._ask(task)
        return self._origins.pop(key, UNKNOWN)

    async def _ask(self, task: Claimed) -> None:
        held = {(leased.task.id, leased.task.fencing_token): leased for leased in self._parts.leased_tasks.snapshot()}
        for key in [key for key in self._open if key not in held]:
            self._end_unfinished(key)  # of a transaction whose result is unknown
        wanted = {key for key, leased in held.items() if leased.state != FINISHING and key not in self._open}
        wanted.add((task.id, task.fencing_token))
        try:
            found = await find_traces(self._parts.questions, [key[0] for key in wanted - self._origins.keys()])
        except DatabaseUnavailable as error:
            # A task does not wait for its origin.
            log.warning("trace_unknown", task_id=task.id, error=str(error))
            found = {}
        self._origins = {
            key: self._origins.get(key) or found[key[0]] for key in wanted if key in self._origins or key[0] in found
        }

    def _ended(self, task: Claimed, outcome: Outcome, finish: Finish) -> None:
        """Note that an attempt was counted. That of a group has no span: its children have."""
        self._quietly(lambda: self._end(task, outcome, finish), None)

    def _end(self, task: Claimed, outcome: Outcome, finish: Finish) -> None:
        opened = self._open.pop((task.id, task.fencing_token), None)
        dead = finish.dead_lettered or finish.next_status == "dead"
        measured = self._measured(task)
        failed = outcome.status not in ("completed", "snoozed", "suspended")
        if failed:
            measured["error.type"] = _kind(outcome)
        self.processed.record(outcome.finished - outcome.started, measured)
        if opened is None:
            return
        span, leased = opened
        span.set_attribute("pgsched.outcome", "dead" if dead else outcome.status)
        if failed:
            self._note_failure(span, leased, outcome)
        span.end()

    def _note_failure(self, span: Span, leased: LeasedTask | None, outcome: Outcome) -> None:
        kind, error = _kind(outcome), outcome.error or ""
        message, _, stack = error.partition("\n\n")
        message = message.removeprefix(f"{kind}: ")
        details = {"exception.type": kind, "exception.message": message}
        if stack:
            details["exception.stacktrace"] = stack
        span.add_event("exception", details)
        fail(span, kind, message)
        told = carrier_of(trace.set_span_in_context(span, TraceContext()))
        if leased is not None and told:
            self._parts.context_of(leased).log_fields(NOTE, "debug", {"traceparent": told["traceparent"]})

    def _end_unfinished(self, key: Key) -> None:
        """Note that the attempt was released or lost: nothing of it is counted."""
        opened = self._open.pop(key, None)
        if opened is not None:
            span, leased = opened
            ended = "lost" if leased is not None and leased.abandoned else "released"
            self._quietly(lambda: span.set_attribute("pgsched.outcome", ended), None)
            self._quietly(span.end, None)

    def _measured(self, task: Claimed) -> dict[str, str]:
        return {
            "messaging.system": SCOPE,
            "messaging.operation.name": "process",
            "messaging.destination.name": task.queue,
            "pgsched.task_type": task.task_type,
        }


def _place(origin: Origin) -> tuple[TraceContext, list[trace.Link]]:
    """Return the context in which a span starts, and its links."""
    creation = context_of(origin.carrier)
    links = link_to(creation)
    if not origin.is_tick:
        return creation, links
    earlier = {"traceparent": origin.earlier} if origin.earlier else {}
    baggage = {name: value for name, value in origin.carrier.items() if name == "baggage"}
    return context_of({**earlier, **baggage}), links


def _kind(outcome: Outcome) -> str:
    """Return the class of the handler's exception, from the start of the error; else how the attempt ended."""
    name = (outcome.error or "").split("\n", 1)[0].partition(":")[0].strip()
    return name if name.replace(".", "_").isidentifier() else outcome.status


GAUGES: Final[dict[str, tuple[str, str]]] = {
    "pgsched_tasks": ("pgsched.tasks", "{task}"),
    "pgsched_queue_oldest_due_seconds": ("pgsched.queue.oldest_due", "s"),
    "pgsched_unhandled_due": ("pgsched.unhandled_due", "{task}"),
    "pgsched_workers": ("pgsched.workers", "{worker}"),
    "pgsched_schedules_stalled": ("pgsched.schedules.stalled", "{schedule}"),
    "pgsched_running": ("pgsched.running", "{task}"),
    "pgsched_slots": ("pgsched.slots", "{task}"),
    "pgsched_listener_connected": ("pgsched.listener.connected", "1"),
}
"""Families of ``/metrics``, and the instrument and the unit of each."""
COUNTERS: Final[dict[str, tuple[str, str]]] = {
    "pgsched_executions": ("pgsched.executions", "{attempt}"),
    "pgsched_ticks_missed": ("pgsched.ticks.missed", "{tick}"),
    "pgsched_leases_expired": ("pgsched.leases.expired", "{lease}"),
    "pgsched_leases_lost": ("pgsched.leases.lost", "{lease}"),
    "pgsched_fenced": ("pgsched.fenced", "{attempt}"),
    "pgsched_database_errors": ("pgsched.database.errors", "{error}"),
    "pgsched_log_errors": ("pgsched.log.errors", "{line}"),
}
SAME_SECONDS: Final = 0.5
"""Seconds: the instruments are read one after the other, and see the same collection for this long."""


def mirror(meter: Meter, metrics: CollectorRegistry) -> None:
    """Let a meter observe the counters and gauges of a registry; a family that does not exist shows nothing.

    Histograms are left out: one cannot be observed, and ``messaging.process.duration`` covers what matters of them.
    """
    collection = _Collection(metrics)
    for make, families in ((meter.create_observable_counter, COUNTERS), (meter.create_observable_gauge, GAUGES)):
        for family, (name, unit) in families.items():
            make(name, callbacks=[partial(collection.observe, family)], unit=unit)


class _Collection:
    """What the registry said last."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._metrics = metrics
        self._families: dict[str, Metric] = {}
        self._collected_at = -SAME_SECONDS

    def observe(self, family: str, _options: CallbackOptions) -> list[Observation]:
        """Return the samples of a family."""
        if monotonic() - self._collected_at >= SAME_SECONDS:
            self._families = {metric.name: metric for metric in self._metrics.collect()}
            self._collected_at = monotonic()
        found = self._families.get(family)
        samples = found.samples if found is not None else []
        return [Observation(sample.value, sample.labels) for sample in samples if not sample.name.endswith("_created")]
