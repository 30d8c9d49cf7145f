"""Charts of counters over time: stacked bars and lines over buckets, a histogram, a sparkline.

Each place shows its numbers on hover; a page also has them as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor, log10

from markupsafe import Markup

from pgsched.web.formats import span
from pgsched.web.svg import element
from pgsched.web.svg.charts import HEIGHT, INNER, LEFT, RIGHT, TALL, TOP, WIDTH, Series, short, stack

_LABELS = 6
_SPARK_WIDE, _SPARK_HIGH = 120, 24


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line over time; None: no data in this bucket."""

    name: str
    css: str
    """The class that colours it; one of ours."""
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An event on the axis: a new version of the code."""

    at: datetime
    words: str


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """The axis: the start of each bucket, and their length in seconds. Times are UTC."""

    times: Sequence[datetime]
    seconds: int

    @property
    def step(self) -> float:
        """The width of a bucket."""
        return INNER / max(len(self.times), 1)

    def place(self, at: datetime) -> float | None:
        """Return the place of a time; None: outside."""
        if not self.times:
            return None
        buckets = (at - self.times[0]).total_seconds() / self.seconds
        return LEFT + buckets * self.step if 0 <= buckets <= len(self.times) else None

    def label(self, at: datetime) -> str:
        """Return a time in the notation of the axis."""
        return (
            f"{at:%m-%d}" if self.seconds >= 86_400 else f"{at:%m-%d %H:%M}" if self.seconds > 3600 else f"{at:%H:%M}"
        )


def history_bars(title: str, buckets: Buckets, series: Sequence[Series], marks: Sequence[Mark] = ()) -> Markup:
    """Return stacked bars, one for each bucket."""
    totals = [sum(one.values[at] for one in series) for at in range(len(buckets.times))]
    top = nice(max([*totals, 1]))
    parts = _grid(top, short)
    step = buckets.step
    for at, time in enumerate(buckets.times):
        x = LEFT + at * step
        bars, said = stack(series, at, x=x, step=step, top=top)
        parts.append(_bucket(buckets, time, x, said, bars))
    return _chart(title, [*parts, *_labels(buckets), *_marks(buckets, marks)])


def history_lines(title: str, buckets: Buckets, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> Markup:
    """Return lines of seconds over buckets; a bucket without a value is a gap."""
    top = nice(max((value for one in lines for value in one.values if value is not None), default=1))
    parts = _grid(top, lambda value: span(value) if value else "0")
    step = buckets.step
    for one in lines:
        points: list[list[str]] = [[]]
        for at, value in enumerate(one.values):
            if value is None:
                points.append([])
                continue
            points[-1].append(f"{LEFT + (at + 0.5) * step:.1f},{TOP + TALL * (1 - value / top):.1f}")
        for piece in points:
            if len(piece) == 1:
                x, y = piece[0].split(",")
                parts.append(element("circle", css=f"dot {one.css}", cx=x, cy=y, r=3))
            elif piece:
                parts.append(element("polyline", css=f"line {one.css}", points=" ".join(piece)))
    for at, time in enumerate(buckets.times):
        said = ", ".join(f"{one.name} {span(one.values[at])}" for one in lines)
        parts.append(_bucket(buckets, time, LEFT + at * step, said, []))
    return _chart(title, [*parts, *_labels(buckets), *_marks(buckets, marks)])


def histogram(title: str, bins: Sequence[tuple[float, float, int]], css: str = "bar-completed") -> Markup:
    """Return bars, one for each bin from ``longer than`` to ``up to``, in seconds; wide gaps are drawn as one."""
    top = nice(max([*(number for _, _, number in bins), 1]))
    parts = _grid(top, short)
    step = INNER / max(len(bins), 1)
    for at, (low, high, number) in enumerate(bins):
        x = LEFT + at * step
        tall = max(TALL * number / top, 1) if number else 0
        bar = element("rect", css=css, x=x + 1, y=TOP + TALL - tall, width=max(step - 2, 1), height=tall)
        hit = element("rect", css="hit", x=x, y=TOP, width=step, height=TALL)
        parts.append(element("g", element("title", f"{span(low)} to {span(high)}: {number:,}"), bar, hit))
        if at % max(len(bins) // _LABELS, 1) == 0:
            parts.append(element("text", span(low), css="axis", x=x, y=HEIGHT - 8))
    return _chart(title, parts)


def sparkline(values: Sequence[int]) -> Markup:
    """Return a sparkline: a number over time, in the size of a word."""
    top = max([*values, 1])
    step = _SPARK_WIDE / max(len(values), 1)
    bars = []
    for at, value in enumerate(values):
        high = max(_SPARK_HIGH * value / top, 1 if value else 0)
        bars.append(
            element("rect", css="spark-bar", x=at * step, y=_SPARK_HIGH - high, width=max(step - 1, 1), height=high)
        )
    words = f"from {values[0]:,} to {values[-1]:,}, at most {max(values):,}" if values else "nothing"
    return element(
        "svg", element("title", words), *bars, css="spark", viewBox=f"0 0 {_SPARK_WIDE} {_SPARK_HIGH}",
        preserveAspectRatio="none", role="img", aria_label=words,
    )  # fmt: skip


def nice(value: float) -> float:
    """Return the next of 1, 2, 5, 10, …, 0.5, 0.2, … that is not less: the end of an axis."""
    if value <= 0:
        return 1.0
    size: float = 10.0 ** floor(log10(value))
    return next(size * step for step in (1, 2, 5, 10, 20) if size * step >= value)


def _grid(top: float, words: Callable[[float], str]) -> list[Markup]:
    parts = []
    for share in (0, 0.5, 1):
        y = TOP + TALL * (1 - share)
        parts.append(element("line", css="grid", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y))
        said = words(top * share)  # A long one has no room beside the chart on a phone: app.css.
        css = "axis end long" if len(said) > 4 else "axis end"
        parts.append(element("text", said, css=css, x=LEFT - 6, y=y + 4))
    return parts


def _bucket(buckets: Buckets, time: datetime, x: float, said: str, bars: Sequence[Markup]) -> Markup:
    hit = element("rect", css="hit", x=x, y=TOP, width=buckets.step, height=TALL)
    return element("g", element("title", f"{time:%Y-%m-%d %H:%M} UTC: {said}"), *bars, hit)


def _labels(buckets: Buckets) -> list[Markup]:
    parts = []
    for at, time in enumerate(buckets.times):
        if at % max(len(buckets.times) // _LABELS, 1) == 0:
            place = {"x": LEFT + at * buckets.step, "y": HEIGHT - 8}
            # A script converts times of a day to the viewer's zone; days are days of UTC.
            zoned = {"data_at": f"{time:%Y-%m-%dT%H:%MZ}"} if buckets.seconds <= 3600 else {}
            parts.append(element("text", buckets.label(time), css="axis", **place, **zoned))
    return parts


def _marks(buckets: Buckets, marks: Sequence[Mark]) -> list[Markup]:
    parts = []
    for mark in marks:
        x = buckets.place(mark.at)
        if x is not None:
            line = element("line", css="deployment", x1=x, y1=TOP - 6, x2=x, y2=TOP + TALL)
            flag = element("path", css="deployment-flag", d=f"M{x:.1f} {TOP - 18} l10 6 l-10 6 z")
            parts.append(element("g", element("title", mark.words), line, flag))
    return parts


def _chart(title: str, parts: Sequence[Markup]) -> Markup:
    return element("svg", *parts, css="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
