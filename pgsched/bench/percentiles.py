"""Percentiles of what was measured."""

from __future__ import annotations

from collections.abc import Iterable


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which a ``share`` (0 to 1) of them lies: one of those measured. Raises ValueError without any."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values")
    return ordered[round((len(ordered) - 1) * share)]
