"""Loads what only some installations have, and says in one line which extra is missing."""

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
"""The name of the service in spans and metrics, unless OTEL_SERVICE_NAME says another."""
FLUSH_SECONDS = 3.0
"""How long a process that ends waits for the collector."""


def load_tracing(wanted: bool | TracerProvider | Tracing) -> Tracing | None:
    """Return what makes spans: None for False, the global providers for True. Raises ConfigError without the extra."""
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
    """Raise ConfigError for what the ``OTEL_*`` environment asks and is not there, and without the extra."""
    _telemetry().check()


def set_up_telemetry() -> None:
    """Set OpenTelemetry up from the environment, unless the application has. Raises as :func:`check_telemetry`."""
    _telemetry().set_up(service=SERVICE)


def flush_telemetry(seconds: float = FLUSH_SECONDS) -> None:
    """Send what OpenTelemetry has not sent yet, within so many seconds; to be called where it is in use."""
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
    """The error for a program that wants traces and has no OpenTelemetry; any other module that is missing raises."""
    if not (error.name or "").startswith("opentelemetry"):
        raise error
    return ConfigError('OpenTelemetry is not installed: pip install "pgsched[otel]"')
