"""How figures are written."""

from __future__ import annotations


def number(value: float) -> str:
    """Whole where it is large, three digits where it is small."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
