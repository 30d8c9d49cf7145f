"""``pgsched worker --otel`` sends spans and metrics to a collector, by the ``OTEL_*`` environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pgsched.observability.extras import FLUSH_SECONDS
from tests.support.http_server import Server, serving
from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until

APP = """
from opentelemetry import trace
from pgsched import App

app = App()


@app.task("render", executor="process")
def render() -> str:
    with trace.get_tracer("shop").start_as_current_span("draw"):
        pass
    app.client().schedule("told")
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


@app.task("told")
async def told() -> None: ...
"""
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_at(server: Server) -> dict[str, Span]:
    """What came, by name; a task's type is part of the name where there is one."""
    found = {}
    for asked in server.asked:
        if asked.target.endswith("/v1/traces"):
            request = ExportTraceServiceRequest.FromString(asked.body)
            for resource in request.resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert names["service.name"] == "shop-worker"
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        types = [one.value.string_value for one in span.attributes if one.key == "pgsched.task_type"]
                        found[" ".join([span.name, *types])] = span
    return found


def instruments_at(server: Server) -> set[str]:
    return {
        metric.name
        for asked in server.asked
        if asked.target.endswith("/v1/metrics")
        for resource in ExportMetricsServiceRequest.FromString(asked.body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_collector_gets_one_trace_through_worker_and_child_process(
    dsn: str, run_pgsched: PgschedRunner, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with serving() as collector:
        environment = {
            "PGSCHED_OTEL": "1",
            "OTEL_SERVICE_NAME": "shop-worker",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}/status/200",
        }
        worker = run_pgsched("worker", "--app", "shop:app", env=environment)
        with database(dsn) as connection:
            task_id = insert_task(connection, "render", metadata=f'{{"traceparent": "{CALLER}"}}')
            wait_until(
                lambda: connection.execute(
                    "select 1 from pgsched.tasks where task_type = 'told' and completed_at is not null"
                ).fetchone(),
                message="both tasks have run",
            )
            row = connection.execute("select result from pgsched.tasks where id = %s", (task_id,)).fetchone()
        assert worker.stop() == 0, worker.output
        spans, instruments = spans_at(collector), instruments_at(collector)
    assert row is not None
    process, draw = spans["process default render"], spans["draw"]
    schedule, told = spans["schedule default told"], spans["process default told"]
    assert {span.trace_id.hex() for span in (process, draw, schedule, told)} == {"0af7651916cd43dd8448eb211c80319c"}
    assert process.parent_span_id.hex() == "b7ad6b7169203331"
    assert row["result"] == process.span_id.hex()
    assert draw.parent_span_id == schedule.parent_span_id == process.span_id
    assert told.parent_span_id == schedule.span_id
    assert {"messaging.process.duration", "messaging.client.consumed.messages", "pgsched.slots"} <= instruments


@pytest.mark.slow
def test_silent_collector_does_not_hold_up_the_end(dsn: str, run_pgsched: PgschedRunner, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with serving() as collector:
        endpoint = f"http://127.0.0.1:{collector.port}/hang"
        worker = run_pgsched("worker", "--http", "--otel", env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        worker.wait_for_output("worker_started")
        assert worker.stop(timeout=FLUSH_SECONDS + 5) == 0  # the exporter itself would wait 10 s for each request
    assert "telemetry_not_sent" in worker.stderr


def test_exporter_that_is_not_known_is_told_in_one_line(run_pgsched: PgschedRunner) -> None:
    worker = run_pgsched("worker", "--http", "--otel", env={"OTEL_TRACES_EXPORTER": "jaeger"})
    assert worker.wait() == 2
    assert worker.stderr == "pgsched: OTEL_TRACES_EXPORTER must be otlp, console or none, got 'jaeger'\n"
