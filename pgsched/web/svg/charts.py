"""Charts as SVG text. Pure: numbers in, markup out; colours and fonts are the style sheet's, by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

WIDTH, HEIGHT = 1000, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 26, 34
_NAMES = 220
"""Where the bars of a timeline begin."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One kind of value, stacked on those before it."""

    name: str
    css: str
    """The class that colours it; one of ours, never a foreign text."""
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Span:
    """One bar of a timeline, in seconds from its beginning."""

    label: str
    css: str
    start: float
    end: float


def stacked_bars(title: str, times: Sequence[datetime], series: Sequence[Series]) -> Markup:
    """Return a chart of stacked bars, one for each time; every bar says its numbers when pointed at.

    Times are in UTC; a script puts those under the axis into the viewer's zone.
    """
    totals = [sum(one.values[at] for one in series) for at in range(len(times))]
    top = round_up(max(totals, default=0))
    inner, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = inner / max(len(times), 1)
    parts = [_opening(title, WIDTH, HEIGHT, "chart")]
    for share in (0, 0.5, 1):
        y = _TOP + tall * (1 - share)
        parts.append(
            Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(_LEFT, _n(y), WIDTH - _RIGHT, _n(y))
        )
        parts.append(
            Markup('<text class="axis end" x="{}" y="{}">{}</text>').format(_LEFT - 6, _n(y + 4), short(top * share))
        )
    for at, time in enumerate(times):
        x, below = _LEFT + at * step, 0.0
        bars = []
        for one in series:
            value = one.values[at]
            if value <= 0:
                continue
            high = max(tall * value / top, 1)
            y = _TOP + tall * (1 - below / top) - high
            below += value
            bars.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                    one.css, _n(x + step * 0.1), _n(y), _n(step * 0.8), _n(high)
                )
            )
        said = ", ".join(f"{one.values[at]:,g} {one.name}" for one in series)
        area = Markup('<rect class="hit" x="{}" y="{}" width="{}" height="{}"/>').format(
            _n(x), _TOP, _n(step), _n(tall)
        )
        parts.append(
            Markup("<g><title>{}: {}</title>{}{}</g>").format(f"{time:%H:%M} UTC", said, Markup("").join(bars), area)
        )
        if at % max(len(times) // 6, 1) == 0:
            parts.append(
                Markup('<text class="axis" x="{}" y="{}" data-at="{}">{}</text>').format(
                    _n(x), HEIGHT - 8, f"{time:%Y-%m-%dT%H:%MZ}", f"{time:%H:%M}"
                )
            )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def meter(label: str, value: float, most: float) -> Markup:
    """Return a narrow bar that is as full as ``value`` of ``most``."""
    share = 0.0 if most <= 0 else min(max(value / most, 0.0), 1.0)
    css = "meter-full" if share >= 0.95 else "meter-some"
    return Markup(
        '<svg class="meter" viewBox="0 0 100 8" role="img" aria-label="{}" preserveAspectRatio="none">'
        '<rect class="meter-back" x="0" y="0" width="100" height="8" rx="3"/>'
        '<rect class="{}" x="0" y="0" width="{}" height="8" rx="3"/></svg>'
    ).format(label, css, _n(share * 100))


def timeline(title: str, spans: Sequence[Span]) -> Markup:
    """Return bars under each other on one axis of time, each as long as it took."""
    first = min((span.start for span in spans), default=0.0)
    whole = max(max((span.end for span in spans), default=0.0) - first, 0.001)
    high = 26 * len(spans) + 8
    parts = [_opening(title, WIDTH, high, "timeline")]
    for at, span in enumerate(spans):
        y = 26 * at + 6
        x = _NAMES + (span.start - first) / whole * (WIDTH - _NAMES - 10)
        wide = max((span.end - span.start) / whole * (WIDTH - _NAMES - 10), 2)
        parts.append(
            Markup(
                '<text class="axis" x="10" y="{}">{}</text>'
                '<rect class="{}" x="{}" y="{}" width="{}" height="16" rx="2"><title>{}</title></rect>'
            ).format(y + 13, span.label, span.css, _n(min(x, WIDTH - 4)), y, _n(wide), span.label)
        )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, … that is not less: where an axis ends."""
    if value <= 1:
        return 1
    size = 10.0 ** (len(str(int(value))) - 1)
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)


def short(value: float) -> str:
    """A number in few characters: ``950``, ``1.5k``, ``2M``."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _opening(title: str, wide: float, high: float, css: str) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        css, _n(wide), _n(high), escape(title)
    )


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
