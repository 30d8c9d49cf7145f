"""Charts: stacked bars, a meter, a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from pgsched.web.svg import element

WIDTH, HEIGHT = 1000, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 26, 34
INNER, TALL = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
"""Space that remains for the bars."""
_NAMES = 220
"""Where the bars of a timeline start."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One kind of value, stacked on the ones before it."""

    name: str
    css: str
    """The class that colours it; one of ours, never external text."""
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Span:
    """One bar of a timeline, in seconds from its start."""

    label: str
    css: str
    start: float
    end: float


def stacked_bars(title: str, times: Sequence[datetime], series: Sequence[Series]) -> Markup:
    """Return a chart of stacked bars, one for each time; every bar shows its numbers on hover.

    Times are in UTC; a script converts them to the viewer's zone.
    """
    totals = [sum(one.values[at] for one in series) for at in range(len(times))]
    top = round_up(max(totals, default=0))
    step = INNER / max(len(times), 1)
    parts = []
    for share in (0, 0.5, 1):
        y = TOP + TALL * (1 - share)
        parts.append(element("line", css="grid", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y))
        parts.append(element("text", short(top * share), css="axis end", x=LEFT - 6, y=y + 4))
    for at, time in enumerate(times):
        x = LEFT + at * step
        bars, said = stack(series, at, x=x, step=step, top=top)
        area = element("rect", css="hit", x=x, y=TOP, width=step, height=TALL)
        parts.append(
            element(
                "g",
                element("title", f"{time:%H:%M} UTC: {said}", data_at=f"{time:%Y-%m-%dT%H:%MZ}", data_said=said),
                *bars,
                area,
            )
        )
        if at % max(len(times) // 6, 1) == 0:
            place = {"x": x, "y": HEIGHT - 8}
            parts.append(element("text", f"{time:%H:%M}", css="axis", **place, data_at=f"{time:%Y-%m-%dT%H:%MZ}"))
    return _picture(title, WIDTH, HEIGHT, "chart", parts)


def stack(series: Sequence[Series], at: int, *, x: float, step: float, top: float) -> tuple[list[Markup], str]:
    """Return the stacked bars of one place, and their numbers in words; ``top`` is the end of the axis."""
    bars, below = [], 0.0
    for one in series:
        value = one.values[at]
        if value <= 0:
            continue
        high = max(TALL * value / top, 1)
        y = TOP + TALL * (1 - below / top) - high
        below += value
        bars.append(element("rect", css=one.css, x=x + step * 0.1, y=y, width=step * 0.8, height=high))
    return bars, ", ".join(f"{one.values[at]:,g} {one.name}" for one in series)


def meter(label: str, value: float, most: float) -> Markup:
    """Return a narrow bar that is filled to ``value`` of ``most``."""
    share = 0.0 if most <= 0 else min(max(value / most, 0.0), 1.0)
    css = "meter-full" if share >= 0.95 else "meter-some"
    return Markup(
        '<svg class="meter" viewBox="0 0 100 8" role="img" aria-label="{}" preserveAspectRatio="none">'
        '<rect class="meter-back" x="0" y="0" width="100" height="8" rx="3"/>{}</svg>'
    ).format(label, element("rect", css=css, x=0, y=0, width=share * 100, height=8, rx=3))


def timeline(title: str, spans: Sequence[Span]) -> Markup:
    """Return bars below each other on one axis of time, each as long as it took."""
    first = min((span.start for span in spans), default=0.0)
    whole = max(max((span.end for span in spans), default=0.0) - first, 0.001)
    parts = []
    for at, span in enumerate(spans):
        y = 26 * at + 6
        x = _NAMES + (span.start - first) / whole * (WIDTH - _NAMES - 10)
        wide = max((span.end - span.start) / whole * (WIDTH - _NAMES - 10), 2)
        bar = {"x": min(x, WIDTH - 4), "y": y, "width": wide, "height": 16, "rx": 2}
        parts.append(element("text", span.label, css="axis", x=10, y=y + 13))
        parts.append(element("rect", element("title", span.label), css=span.css, **bar))
    return _picture(title, WIDTH, 26 * len(spans) + 8, "timeline", parts)


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50, … that is not less: the end of an axis."""
    if value <= 1:
        return 1
    size = 10.0 ** (len(str(int(value))) - 1)
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)


def short(value: float) -> str:
    """Return a number in few characters: ``950``, ``1.5k``, ``2M``."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _picture(title: str, wide: float, high: float, css: str, parts: Sequence[Markup]) -> Markup:
    return element("svg", *parts, css=css, viewBox=f"0 0 {wide} {high}", role="img", aria_label=title)
