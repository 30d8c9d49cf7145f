"""How long to wait before the next attempt of a tick that failed."""

from __future__ import annotations

from collections.abc import Callable

from pgsched.errors import InvalidTask

KINDS = ("exponential", "linear", "fixed")

# The jitter of gRPC's connection backoff (grpc/doc/connection-backoff.md): 20 percent to either side.
JITTER = 0.2

# 2.0 ** 1024 overflows a float; any delay doubled this often is far beyond every maximum.
_MAX_DOUBLINGS = 1000


def retry_delay(kind: str, attempt: int, delay: float, maximum: float, random: Callable[[], float]) -> float:
    """The seconds to wait after attempt number ``attempt`` (1 for the first) failed.

    ``exponential`` waits delay * 2 ** (attempt - 1), ``linear`` delay * attempt, ``fixed`` always delay;
    all of them no more than ``maximum``. ``delay`` and ``maximum`` are seconds; ``random`` returns a float
    in [0, 1), as ``random.random`` does.

    Tasks that failed together must not come back together, so the result is spread evenly over 80 to 120
    percent of the plain delay (the rule of gRPC's connection backoff). The spread is cut off at ``maximum``
    and not piled up there: delays at the maximum lie between 80 and 100 percent of it.

    Raises InvalidTask when the kind is unknown, the attempt below 1 or a time negative.
    """
    if kind not in KINDS:
        raise InvalidTask(f'backoff must be one of {", ".join(KINDS)}, got "{kind}"')
    if attempt < 1:
        raise InvalidTask(f"attempt must be at least 1, got {attempt}")
    if not delay >= 0 or not maximum >= 0:
        raise InvalidTask(f"backoff_delay and backoff_max must not be negative, got {delay} and {maximum}")
    if kind == "exponential":
        plain = delay * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
    elif kind == "linear":
        plain = delay * attempt
    else:
        plain = delay
    plain = min(plain, maximum)
    low = plain * (1 - JITTER)
    high = min(plain * (1 + JITTER), maximum)
    return min(low + random() * (high - low), maximum)
