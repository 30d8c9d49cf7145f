"""Chooses what a worker does for traces, so that OpenTelemetry is loaded only where somebody wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgsched.worker.traces import Traces

if TYPE_CHECKING:
    from pgsched.observability.tracing import Tracing


def load_traces(tracing: Tracing | None) -> Traces:
    """Return what a worker does for the traces of an application; nothing of OpenTelemetry is loaded for None."""
    if tracing is None:
        return Traces()
    from pgsched.worker.tracing import WorkerTracing

    return WorkerTracing(tracing)
