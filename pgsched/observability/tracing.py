"""OpenTelemetry spans and metrics (extra ``otel``): those of clients, and what workers share with them.

Names and attributes follow the semantic conventions for messaging, status Development, as of their version 1.41:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ and …/messaging-metrics/. A queue is their
destination, a task their message, scheduling is sending. The creation context of a task is kept in its ``metadata``, in
the form of the W3C (https://www.w3.org/TR/trace-context/): ``traceparent``, ``tracestate``, ``baggage``.

This module, and OpenTelemetry, are imported only if tracing is enabled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Final, TypeVar

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pgsched.domain.task_spec import TaskSpec
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.telemetry")

T = TypeVar("T")

UNTRACED: Final[Span] = trace.INVALID_SPAN
"""Used if a span cannot be started."""
TELL_SECONDS: Final = 10.0
"""Minimum interval between logged failures of OpenTelemetry."""
SCOPE: Final = "pgsched"
"""The instrumentation scope and the value of messaging.system, for which no predefined one fits."""
DEFAULT_QUEUE: Final = "default"
MAX_BAGGAGE: Final = 1024
"""Maximum length of the baggage stored with a task; longer baggage is dropped."""
CARRIED: Final = ("traceparent", "tracestate", "baggage")
"""The keys of ``metadata`` that carry a creation context."""
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets that the conventions recommend for durations."""

Carrier = Mapping[str, str]

_TRACE = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()


def carrier_of(context: Context | None = None) -> dict[str, str]:
    """Return a context, by default the current one, in the form stored with a task; empty without a trace."""
    carrier: dict[str, str] = {}
    _TRACE.inject(carrier, context)
    if carrier:
        _BAGGAGE.inject(carrier, context)
        if len(carrier.get("baggage", "")) > MAX_BAGGAGE:
            del carrier["baggage"]
    return carrier


def context_of(carrier: Mapping[str, Any] | None, base: Context | None = None) -> Context:
    """Return the context stored with a task, added to ``base``; unreadable values are ignored."""
    context = Context() if base is None else base
    told = {name: value for name, value in (carrier or {}).items() if name in CARRIED and isinstance(value, str)}
    return _BAGGAGE.extract(told, _TRACE.extract(told, context))


def link_to(context: Context) -> list[Link]:
    """Return a link to the span of a context, if there is one."""
    found = trace.get_current_span(context).get_span_context()
    return [Link(found)] if found.is_valid else []


@contextmanager
def attached(carrier: Carrier) -> Iterator[None]:
    """Make the span of a carrier the current one inside the ``with`` block."""
    token = contexts.attach(context_of(carrier, contexts.get_current()))
    try:
        yield
    finally:
        contexts.detach(token)


def fail(span: Span, kind: str, message: str) -> None:
    """Mark a span as failed."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, message))


def flush(seconds: float) -> bool:
    """Export pending telemetry within ``seconds``, even if the collector is silent; return whether all was sent."""
    sent: list[bool] = []

    def send() -> None:
        providers = [trace.get_tracer_provider(), metrics.get_meter_provider()]
        flushes = [provider.force_flush for provider in providers if hasattr(provider, "force_flush")]
        answers = [one(int(seconds * 1000)) for one in flushes]  # all are called, even if one fails
        sent.append(False not in answers)

    # A daemon thread: an exporter may exceed its timeout.
    thread = threading.Thread(target=send, name="pgsched telemetry", daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(sent) and sent[0]


class Quiet:
    """Calls OpenTelemetry; its exceptions are logged at intervals and never raised."""

    def __init__(self) -> None:
        self._told_at = -TELL_SECONDS
        self.failures = 0
        """Number of exceptions."""

    def __call__(self, tell: Callable[[], T], otherwise: T) -> T:
        """Return the result of ``tell``, or ``otherwise`` if it raises."""
        try:
            return tell()
        except Exception:
            self.failures += 1
            if monotonic() - self._told_at >= TELL_SECONDS:
                self._told_at = monotonic()
                log.exception("telemetry_failed", times=self.failures)
            return otherwise


class Sending:
    """A producer span, and the tasks that carry its context."""

    def __init__(self, span: Span, quietly: Quiet) -> None:
        self._span = span
        self._quietly = quietly
        self._carrier: dict[str, str] = quietly(carrier_of, {})
        self.count = 1
        """The number of tasks sent or attempted."""

    def traced(self, spec: TaskSpec) -> TaskSpec:
        """Return the task with this creation context; if it already has one, link the span to that instead."""
        if not isinstance(spec, TaskSpec):
            return spec  # the client rejects it, naming its position
        own = spec.metadata or {}
        if "traceparent" in own:
            self._quietly(lambda: self._link(own), None)
            return spec
        return replace(spec, metadata={**own, **self._carrier}) if self._carrier else spec

    def sent(self, task_id: int) -> int:
        """Record the id of the task, and return it."""
        self._quietly(lambda: self._span.set_attribute("messaging.message.id", str(task_id)), None)
        return task_id

    def _link(self, carrier: Mapping[str, Any]) -> None:
        for link in link_to(context_of(carrier)):
            self._span.add_link(link.context)


class SendingMany(Sending):
    """One span for many tasks: one span each, which the conventions also allow, would cost more than the insert."""

    def stream(self, specs: Iterable[TaskSpec]) -> Iterator[TaskSpec]:
        """Return the tasks with this creation context, lazily, while they are being inserted."""
        return (self.traced(spec) for spec in specs)

    def all_sent(self, ids: list[int]) -> list[int]:
        """Record the number of tasks, and return their ids."""
        self.count = len(ids)
        self._quietly(lambda: self._span.set_attribute("messaging.batch.message_count", len(ids)), None)
        return ids


S = TypeVar("S", bound=Sending)


class Tracing:
    """pgsched's tracer and meter. Without providers the global ones are used, looked up at each use."""

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self.meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self.quietly = Quiet()
        self.sent_messages = self.meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="Tasks that were sent to the database."
        )
        self.send_durations = self.meter.create_histogram(
            "messaging.client.operation.duration",
            unit="s",
            description="How long it took to schedule tasks.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )

    @contextmanager
    def sending(self, spec: TaskSpec) -> Iterator[Sending]:
        """The span of scheduling one task, as a context manager."""
        queue = spec.queue or DEFAULT_QUEUE
        attributes = {"messaging.destination.name": queue, "pgsched.task_type": spec.task_type}
        with self._span(f"schedule {queue}", queue, attributes, Sending) as sending:
            yield sending

    @contextmanager
    def sending_many(self) -> Iterator[SendingMany]:
        """The span of scheduling many tasks at once, as a context manager."""
        with self._span("schedule", None, {}, SendingMany) as sending:
            yield sending

    @contextmanager
    def _span(
        self, name: str, queue: str | None, attributes: dict[str, Any], kind: Callable[[Span, Quiet], S]
    ) -> Iterator[S]:
        begun = monotonic()
        measured = {"messaging.operation.name": "schedule", "messaging.system": SCOPE}
        if queue is not None:
            measured["messaging.destination.name"] = queue
        common = {**measured, "messaging.operation.type": "send", **attributes}
        quietly = self.quietly
        span = quietly(lambda: self.tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=common), UNTRACED)
        token = quietly(lambda: contexts.attach(trace.set_span_in_context(span)), None)
        sending = kind(span, quietly)
        try:
            yield sending
        except BaseException as error:
            kind_of_error = type(error).__qualname__
            measured["error.type"] = kind_of_error
            quietly(lambda: _note(span, kind_of_error), None)
            raise
        finally:
            if token is not None:
                contexts.detach(token)
            quietly(span.end, None)
            quietly(lambda: self._measure(sending.count, monotonic() - begun, measured), None)

    def _measure(self, count: int, seconds: float, measured: dict[str, str]) -> None:
        self.sent_messages.add(count, measured)
        self.send_durations.record(seconds, {**measured, "messaging.operation.type": "send"})


def _note(span: Span, kind: str) -> None:
    # Without the message, which may contain the caller's data.
    span.add_event("exception", {"exception.type": kind})
    fail(span, kind, kind)
