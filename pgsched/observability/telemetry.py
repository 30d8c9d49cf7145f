"""Sets up OpenTelemetry from the ``OTEL_*`` environment, unless the application has done so (extra ``otel``).

Spans and metrics go to a collector by OTLP over HTTP. The SDK reads sampler, limits, batches, resource and the
exporter's address from the environment by itself. See
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from pgsched.domain.errors import ConfigError

EXPORTERS = ("otlp", "console", "none")
PROTOCOL = "http/protobuf"


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError for unsupported settings in the environment."""
    for signal in ("TRACES", "METRICS"):
        _exporter(environment, signal)
        for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if environment.get(name, PROTOCOL) != PROTOCOL:
                raise ConfigError(f"{name} must be {PROTOCOL}, got {environment[name]!r}")


def set_up(*, service: str) -> None:
    """Install global providers, unless the application has. ``service``: the name if OTEL_SERVICE_NAME is not set.

    Raises ConfigError as :func:`check` does.
    """
    check()
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    resource = Resource.create({SERVICE_INSTANCE_ID: f"{os.uname().nodename}-{os.getpid()}"})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        if spans := _SPANS.get(_exporter(os.environ, "TRACES")):
            tracers.add_span_processor(BatchSpanProcessor(spans()))
        trace.set_tracer_provider(tracers)
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        numbers = _METRICS.get(_exporter(os.environ, "METRICS"))
        readers = [PeriodicExportingMetricReader(numbers())] if numbers else []
        metrics.set_meter_provider(MeterProvider(readers, resource=resource, shutdown_on_exit=False))


def _exporter(environment: Mapping[str, str], signal: str) -> str:
    name = f"OTEL_{signal}_EXPORTER"
    value = environment.get(name, "").strip() or "otlp"
    if value not in EXPORTERS:
        raise ConfigError(f"{name} must be {', '.join(EXPORTERS[:-1])} or {EXPORTERS[-1]}, got {value!r}")
    return value


_SPANS: Mapping[str, Callable[[], SpanExporter]] = {"otlp": OTLPSpanExporter, "console": ConsoleSpanExporter}
_METRICS: Mapping[str, Callable[[], MetricExporter]] = {"otlp": OTLPMetricExporter, "console": ConsoleMetricExporter}
