"""Loads optional dependencies, or names the missing extra in one line."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from pgsched.domain.errors import ConfigError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.telemetry")

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from pgsched.observability.tracing import Tracing


SERVICE = "pgsched-worker"
"""The default service name in spans and metrics, which OTEL_SERVICE_NAME overrides."""
FLUSH_SECONDS = 3.0
"""How long an exiting process waits for the collector."""


def load_tracing(wanted: bool | TracerProvider | Tracing) -> Tracing | None:
    """Return the tracing to use: None for False, global providers for True. Raises ConfigError without the extra."""
    if wanted is False:
        return None
    try:
        from pgsched.observability.tracing import Tracing
    except ModuleNotFoundError as error:
        raise _missing_otel(error) from None
    if isinstance(wanted, Tracing):
        return wanted
    return Tracing(tracer_provider=None if wanted is True else wanted)


def check_telemetry() -> None:
    """Raise ConfigError for unsupported ``OTEL_*`` settings, and without the extra."""
    _telemetry().check()


def set_up_telemetry() -> None:
    """Set OpenTelemetry up from the environment, unless the application has. Raises as :func:`check_telemetry`."""
    _telemetry().set_up(service=SERVICE)


def flush_telemetry(seconds: float = FLUSH_SECONDS) -> None:
    """Export pending telemetry within the given seconds; call it only where OpenTelemetry is in use."""
    from pgsched.observability.tracing import flush

    if not flush(seconds):
        log.warning("telemetry_not_sent", after=seconds)


def _telemetry() -> ModuleType:
    try:
        from pgsched.observability import telemetry
    except ModuleNotFoundError as error:
        raise _missing_otel(error) from None
    return telemetry


def _missing_otel(error: ModuleNotFoundError) -> ConfigError:
    """Return the error for a missing OpenTelemetry; raise the given one if another module is missing."""
    if not (error.name or "").startswith("opentelemetry"):
        raise error
    return ConfigError('OpenTelemetry is not installed: pip install "pgsched[otel]"')
