"""Tracks of time: pictures of the available width, in which vertically aligned marks are simultaneous.

Places are percentages and there is no view box, so that text and marks keep their size at every width.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from pgsched.domain.scheduling.timeline import Bucket, Timeline, UpcomingSchedule
from pgsched.web.svg import element

_TALL, _ROW = 64, 18
_LABELS = 4


def axis(since: datetime, until: datetime) -> Markup:
    """Return the time labels above the tracks: UTC, which a script converts to the viewer's zone."""
    step = (until - since) / _LABELS
    parts = []
    for place in range(_LABELS + 1):
        at = since + place * step
        css = "axis start" if place == 0 else "axis end" if place == _LABELS else "axis middle"
        x = f"{place / _LABELS:.0%}"
        parts.append(element("text", f"{at:%a %H:%M}", css=css, x=x, y=13, data_moment=_machine(at)))
    return _track("track-axis", 18, parts, f"From {since:%a %H:%M} to {until:%a %H:%M} UTC")


def density(timeline: Timeline) -> Markup:
    """Return the number of starts in each bucket: schedules below, one-time tasks on top, pile-ups highlighted."""
    most = max((one.runs for one in timeline.buckets), default=0) or 1
    number = len(timeline.buckets)
    parts = []
    for place, one in enumerate(timeline.buckets):
        if not one.runs:
            continue
        x, wide = f"{100 * place / number:.3f}%", f"{100 / number * 0.86:.3f}%"
        low, bars = float(_TALL), []
        for value, css in ((one.ticks, "ahead-ticks"), (one.tasks, "ahead-tasks")):
            if value:
                high = max(value / most * (_TALL - 4), 2)
                low -= high
                css = f"{css} ahead-marked" if one.pile_up or one.over else css
                bars.append(element("rect", css=css, x=x, y=low, width=wide, height=high))
        area = element("rect", css="hit", x=x, y=0, width=f"{100 / number:.3f}%", height=_TALL)
        parts.append(element("g", _title(one.at, f": {said(one)}"), *bars, area))
    label = f"{timeline.runs} runs of schedules and {timeline.tasks} one-time tasks in {number} periods"
    return _track("track-density", _TALL, parts, label)


def said(one: Bucket) -> str:
    """Return the starts in a bucket, in words."""
    words = f"{one.ticks:,} of schedules, {one.tasks:,} one-time tasks"
    if one.over:
        return f"{words}; more than the rate of {', '.join(one.over)} allows"
    return f"{words}; a pile-up" if one.pile_up else words


def row(timeline: Timeline, one: UpcomingSchedule) -> Markup:
    """Return the runs of a schedule: a mark each, or bands where it runs very often."""
    css = "ahead-mark" if one.state in ("active", "running") else "ahead-mark ahead-off"
    parts = [Markup("").join(_mark(css, _place(timeline, at), at) for at in one.ticks)]
    for since, until in one.bands:
        start, end = max(since, timeline.since), min(until, timeline.until)
        wide = f"{100 * ((end - start) / _length(timeline)):.3f}%"
        place = _place(timeline, start)
        band = element("rect", _title(start, " and on"), css=f"{css} ahead-band", x=place, y=5, width=wide, height=8)
        parts.append(band)
    return _track("track-row", _ROW, parts, f"{one.runs:,} runs")


def _mark(css: str, place: str, at: datetime) -> Markup:
    """Return one of thousands of marks on a page: made of our own numbers and words, so that nothing needs escaping."""
    return Markup(  # noqa: S704 - no external text
        f'<rect class="{css}" x="{place}" y="2" width="3" height="{_ROW - 4}" rx="1">'
        f'<title data-moment="{_machine(at)}" data-then="">{at.astimezone(UTC):%a %H:%M:%S} UTC</title></rect>'
    )


def _length(timeline: Timeline) -> timedelta:
    return timeline.until - timeline.buckets[0].at


def _place(timeline: Timeline, at: datetime) -> str:
    share = (max(at, timeline.since) - timeline.buckets[0].at) / _length(timeline)
    return f"{100 * min(share, 0.998):.3f}%"


def _title(at: datetime, then: str = "") -> Markup:
    return element("title", f"{at.astimezone(UTC):%a %H:%M:%S} UTC{then}", data_moment=_machine(at), data_then=then)


def _machine(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _track(css: str, high: int, parts: Sequence[Markup], label: str) -> Markup:
    return element("svg", *parts, css=f"ahead {css}", width="100%", height=high, role="img", aria_label=label)
