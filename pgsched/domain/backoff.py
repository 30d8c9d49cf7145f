"""The delay before the next attempt of a tick that failed."""

from __future__ import annotations

import math
from collections.abc import Callable

from pgsched.domain.errors import Described
from pgsched.domain.validation import WORDS, refused

KINDS = WORDS["backoff"]
FACTOR = 2.0
JITTER = 0.2
"""The jitter of gRPC's connection backoff (grpc/doc/connection-backoff.md): 20 percent in each direction."""


def retry_delay(
    kind: str,
    attempt: int,
    delay: float,
    maximum: float,
    random: Callable[[], float],
    *,
    factor: float = FACTOR,
    jitter: float = JITTER,
) -> float:
    """The seconds to wait after attempt number ``attempt`` (1 for the first) failed.

    ``exponential`` waits delay * factor ** (attempt - 1), ``linear`` delay * attempt, ``fixed`` always delay. The
    result is capped at ``maximum``, or at ``delay`` where that is longer: a first delay of one day must not become an
    hour. ``delay`` and ``maximum`` are seconds; ``random`` returns a float in [0, 1), as ``random.random`` does.

    Tasks that failed together must not be retried together, so the result is spread evenly around the plain delay by
    ``jitter`` (a share of it, 0 to 1) in each direction. The spread is truncated at the maximum, not piled up there:
    with a jitter of 0.2, delays at the maximum lie between 80 and 100 percent of it.

    Raises InvalidTask when the kind is unknown, the attempt is below 1 or a time is negative.
    """
    if kind not in KINDS:
        raise refused("backoff", f"be one of {', '.join(KINDS)}", Described(f'"{kind}"'))
    if attempt < 1:
        raise refused("attempt", "be at least 1", attempt)
    if not delay >= 0 or not maximum >= 0:
        raise refused("backoff_delay and backoff_max", "not be negative", Described(f"{delay} and {maximum}"))
    maximum = max(maximum, delay)
    plain = min(delay * _growth(kind, attempt, factor), maximum) if delay else 0.0
    low = plain * (1 - jitter)
    high = min(plain * (1 + jitter), maximum)
    return min(low + random() * (high - low), maximum)


def _growth(kind: str, attempt: int, factor: float) -> float:
    if kind == "linear":
        return float(attempt)
    try:
        return factor ** (attempt - 1) if kind == "exponential" else 1.0
    except OverflowError:
        return math.inf
