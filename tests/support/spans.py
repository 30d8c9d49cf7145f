"""An application whose spans and metrics are kept in memory, and a worker of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pgsched.app.app import App
from pgsched.observability.tracing import Tracing
from pgsched.worker.traces import load_traces
from tests.support.engine import Engine, engine


class Traced:
    """An App with tracing, and what it told."""

    def __init__(self, dsn: str) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.app = App(dsn=dsn, otel=Tracing(tracer_provider=self.provider, meter_provider=meters))
        self.tracer = self.provider.get_tracer("the test")

    def spans(self, operation: str | None = None) -> list[ReadableSpan]:
        """The spans that have ended, in that order; all, or those of an operation."""
        found = self._exporter.get_finished_spans()
        return [one for one in found if operation in (None, attributes(one).get("messaging.operation.name"))]

    def span(self, operation: str) -> ReadableSpan:
        """The one span of an operation."""
        (found,) = self.spans(operation)
        return found

    def forget(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def metrics(self) -> dict[str, list[Any]]:
        """The data points of every instrument."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @asynccontextmanager
    async def worker(self, dsn: str, **settings: Any) -> AsyncIterator[Engine]:
        """A worker that is driven by hand."""
        async with engine(dsn, self.app.registry, traces=load_traces(self.app.tracing), **settings) as one:
            yield one


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def links_of(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def header_of(span: ReadableSpan) -> str:
    """As a task carries it."""
    assert span.context is not None
    return f"00-{trace_of(span):032x}-{id_of(span):016x}-{span.context.trace_flags:02x}"
