"""A durable run on an axis of time: its steps in, rows with a bar each out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, chain, compress, pairwise
from math import inf
from typing import Final, Generic, TypeVar

from markupsafe import Markup

from pgsched.domain.durable_records import DurableStep
from pgsched.web.formats import span
from pgsched.web.svg import element

WIDTH: Final = 1000.0
_HIGH: Final = 18
_LEAST: Final = 6.0
"""Width of the narrowest bar."""
_BUSY_SHARE: Final = 0.3
"""Where active steps take less than this fraction of the time, the time between them is compressed."""
_SHOWN_SHARE: Final = 0.5
"""The fraction of the axis that they get then."""
_RESOLUTION: Final = 1e-6
"""Seconds; the resolution of PostgreSQL's times."""
_GAP_SECONDS, _GAP_SHARE = 1.0, 0.005
"""A gap without steps that is shorter than this, or than this fraction of the whole time, has no label."""
MAX_GAPS: Final = 10
"""Maximum number of gaps with a label, the longest."""


MAX_CUTS: Final = 10
"""Maximum number of pieces that are marked as compressed, the longest."""

Stretch = tuple[float, float]
"""A start and an end, in seconds or as places."""


S = TypeVar("S", bound=DurableStep)


@dataclass(frozen=True, kw_only=True)
class Row(Generic[S]):
    """One step, or a gap without steps."""

    step: S | None
    words: str
    """How the time was spent: ``slept 3 h``, ``waits for approved``."""
    until: datetime | None
    """When that ends, where it has not ended and the time is known."""
    track: Markup
    """The bar on its axis."""


@dataclass(frozen=True, kw_only=True)
class RunTimeline(Generic[S]):
    """The rows of a run in the order of their start, on one axis."""

    rows: Sequence[Row[S]]
    began_at: datetime
    ended_at: datetime
    """The end of the axis: the end of the last step, or now."""
    shortened: bool
    """Whether long waits are compressed."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps times to places: to scale, except that some pieces are compressed."""

    edges: Sequence[float]
    """The starts of pieces and the end of the last one, in seconds."""
    places: Sequence[float]
    """Their places."""
    short: Sequence[Stretch]
    """The longest compressed pieces, as places."""

    def place(self, seconds: float) -> float:
        """Return the place of a time, from 0 to :data:`WIDTH`."""
        at = min(max(bisect_right(self.edges, seconds) - 1, 0), len(self.edges) - 2)
        first, last = self.edges[at], self.edges[at + 1]
        share = min(max((seconds - first) / (last - first), 0.0), 1.0) if last > first else 0.0
        return self.places[at] + share * (self.places[at + 1] - self.places[at])


def run_timeline(steps: Sequence[S], *, began_at: datetime, ended_at: datetime, over: bool = False) -> RunTimeline[S]:
    """Return the timeline of a run; ``ended_at``: its end, or now, to which open bars extend.

    ``over``: the run has ended: its open waits will never be completed.
    """
    first = min([began_at, *(one.started_at for one in steps)])
    last = max([ended_at, *(one.started_at for one in steps), *(one.finished_at for one in steps if one.finished_at)])

    def seconds(at: datetime) -> float:
        return (at - first).total_seconds()

    spans = [(seconds(one.started_at), seconds(_end_of(one, ended_at))) for one in steps]
    working = [place for one, place in zip(steps, spans, strict=True) if one.kind not in ("sleep", "event", "child")]
    axis = axis_of(working, seconds(last), [edge for place in spans for edge in place])
    found: list[tuple[float, Row[S]]] = []
    for one, (begin, end) in zip(steps, spans, strict=True):
        words, until = (_left_words(one), None) if over and one.finished_at is None else _words(one, end - begin)
        track = _track(axis, begin, end, f"run-{one.kind} run-{one.status}", words)
        found.append((begin, Row(step=one, words=words, until=until, track=track)))
    for begin, end in gaps_of(spans, seconds(ended_at)):
        words = f"nothing recorded for {span(end - begin)}"
        track = _track(axis, begin, end, "run-gap", words)
        found.append((begin, Row(step=None, words=words, until=None, track=track)))
    found.sort(key=lambda one: one[0])  # Stable: steps that start at the same time stay in their order.
    rows = [row for _, row in found]
    return RunTimeline(rows=rows, began_at=first, ended_at=last, shortened=bool(axis.short))


def axis_of(working: Sequence[Stretch], whole: float, edges: Sequence[float] = ()) -> Axis:
    """Return the axis from 0 to ``whole`` seconds, on which the stretches of ``working`` are visible.

    Beside a sleep of three days a step of three seconds would be a hair. Where nothing worked for most of the time, the
    idle pieces from edge to edge are cut to one length: the longest with which they take up half the axis.
    """
    whole = max(whole, 0.001)
    known = sorted({0.0, whole, *(edge for edge in (*edges, *chain(*working)) if 0 < edge < whole)})
    merged = merge(working)
    lengths = [last - first for first, last in pairwise(known)]
    works = [_is_within(merged, first, last) for first, last in pairwise(known)]
    at_work = sum(compress(lengths, works))
    cut = inf
    if _RESOLUTION <= at_work < _BUSY_SHARE * whole:
        idle = [length for length, busy in zip(lengths, works, strict=True) if not busy]
        cut = cut_to(idle, at_work * (1 - _SHOWN_SHARE) / _SHOWN_SHARE)
    drawn = [length if busy else min(length, cut) for length, busy in zip(lengths, works, strict=True)]
    scale = WIDTH / sum(drawn)
    places = [0.0, *(scale * so_far for so_far in accumulate(drawn))]
    cuts = [
        (length, piece) for piece, one, length in zip(pairwise(places), drawn, lengths, strict=True) if one < length
    ]
    short = merge([piece for _, piece in sorted(cuts)[-MAX_CUTS:]])
    return Axis(edges=known, places=places, short=short)


def cut_to(lengths: Sequence[float], room: float) -> float:
    """Return the length to which longer ones are cut, so that all together have this room."""
    left = sorted(lengths)
    for at, length in enumerate(left):
        share = room / (len(left) - at)
        if length >= share:
            return share
        room -= length
    return max(left, default=0.0)


def merge(spans: Sequence[Stretch]) -> list[Stretch]:
    """Return the spans in order, with touching or overlapping ones merged."""
    merged: list[Stretch] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def gaps_of(spans: Sequence[Stretch], whole: float) -> list[Stretch]:
    """Return the longest gaps without steps that deserve a label, in order."""
    merged = merge([*spans, (whole, whole)])
    least = max(_GAP_SECONDS, _GAP_SHARE * whole)
    gaps = [(end, begin) for (_, end), (begin, _) in pairwise([(0.0, 0.0), *merged]) if begin - end >= least]
    return sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MAX_GAPS])


def _is_within(merged: Sequence[Stretch], first: float, last: float) -> bool:
    at = bisect_right(merged, (first, inf)) - 1
    return at >= 0 and last <= merged[at][1]


def _end_of(step: DurableStep, now: datetime) -> datetime:
    return max(step.finished_at or now, step.started_at)


def _words(step: DurableStep, seconds: float) -> tuple[str, datetime | None]:
    """Return how a step spent its time, and when that ends where it is not over."""
    took, over = span(seconds), step.finished_at is not None
    child = "its task" if step.child_id is None else f"task {step.child_id}"
    match step.kind, step.status:
        case "sleep", _:
            return (f"slept {took}", None) if over else ("sleeps", step.wakes_at)
        case "event", "completed":
            return f"waited {took} for {step.name}", None
        case "event", "failed":
            return f"no {step.name} came in {took}", None
        case "event", _:
            return f"waits for {step.name}", step.wakes_at
        case "child", "completed":
            return f"waited {took} for {child}", None
        case "child", "failed":
            return f"{child} failed after {took}", None
        case "child", _:
            return f"waits for {child}", None
        case (("value" | "patch"), _):
            return "recorded", None
        case _, "failing":
            return (
                ("will be retried", step.wakes_at) if step.wakes_at else ("will be retried with the next attempt", None)
            )
        case _, "failed":
            return f"failed after {took}", None
        case _:
            return (f"took {took}", None) if over else ("runs", None)


def _left_words(step: DurableStep) -> str:
    """Return what a step was doing when its run ended without it."""
    match step.kind:
        case "sleep":
            return "slept when the run ended"
        case "event":
            return f"waited for {step.name} when the run ended"
        case "child":
            return f"waited for task {step.child_id} when the run ended"
        case _:
            return "was to be retried when the run ended"


def _track(axis: Axis, begin: float, end: float, css: str, words: str) -> Markup:
    x, last = axis.place(begin), axis.place(end)
    wide = max(last - x, _LEAST)
    cuts = [
        element("rect", css="run-cut", x=first, y=0, width=until - first, height=_HIGH) for first, until in axis.short
    ]
    bar = element("rect", element("title", words), css=css, x=min(x, WIDTH - wide), y=3, width=wide, height=_HIGH - 6)
    # Stretched to the available width; its meaning stands beside it as text.
    return element(
        "svg", *cuts, bar, css="track", viewBox=f"0 0 {WIDTH:.0f} {_HIGH}", preserveAspectRatio="none", role="img",
        aria_label=words,
    )  # fmt: skip
