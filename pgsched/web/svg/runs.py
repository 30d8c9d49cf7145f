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
"""How wide the narrowest bar is."""
_BUSY_SHARE: Final = 0.3
"""Where steps at work have less of the time than this, what lies between them is drawn shorter."""
_SHOWN_SHARE: Final = 0.5
"""The share of the axis that they have then."""
_RESOLUTION: Final = 1e-6
"""Seconds; PostgreSQL knows no shorter time."""
_GAP_SECONDS, _GAP_SHARE = 1.0, 0.005
"""A gap without any step that is shorter than this, or than this share of the whole time, is not named."""
MAX_GAPS: Final = 10
"""Maximum number of gaps that are named, the longest."""


MAX_CUTS: Final = 10
"""Maximum number of pieces that are marked as drawn shorter, the longest."""

Stretch = tuple[float, float]
"""Where something begins and ends, in seconds or as places."""


S = TypeVar("S", bound=DurableStep)


@dataclass(frozen=True, kw_only=True)
class Row(Generic[S]):
    """One step, or a gap in which there was none."""

    step: S | None
    words: str
    """What the time went by with: ``slept 3 h``, ``waits for approved``."""
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
    """Where the axis ends: with the last step, or now."""
    shortened: bool
    """Whether long waits are drawn shorter than they were."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where a time lies: in scale, but that pieces of it are drawn shorter."""

    edges: Sequence[float]
    """Where pieces begin and the last one ends, in seconds."""
    places: Sequence[float]
    """Where those lie."""
    short: Sequence[Stretch]
    """The longest pieces that are drawn shorter, as places."""

    def place(self, seconds: float) -> float:
        """Return where a time lies, from 0 to :data:`WIDTH`."""
        at = min(max(bisect_right(self.edges, seconds) - 1, 0), len(self.edges) - 2)
        first, last = self.edges[at], self.edges[at + 1]
        share = min(max((seconds - first) / (last - first), 0.0), 1.0) if last > first else 0.0
        return self.places[at] + share * (self.places[at + 1] - self.places[at])


def run_timeline(steps: Sequence[S], *, began_at: datetime, ended_at: datetime, over: bool = False) -> RunTimeline[S]:
    """Return the timeline of a run; ``ended_at``: when it ended, or now, which open bars lead up to.

    ``over``: nothing of it goes on: what waits in it waits in vain.
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
    found.sort(key=lambda one: one[0])  # stable: steps that begin at once stay in their order
    rows = [row for _, row in found]
    return RunTimeline(rows=rows, began_at=first, ended_at=last, shortened=bool(axis.short))


def axis_of(working: Sequence[Stretch], whole: float, edges: Sequence[float] = ()) -> Axis:
    """Return the axis from 0 to ``whole`` seconds, on which the stretches of ``working`` can be seen.

    Beside a sleep of three days a step of three seconds would be a hair. Where nothing worked for most of the time, the
    pieces from edge to edge in which nothing did are cut to one length: the longest with which they have half the axis.
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
    """Return the spans in order, those that touch or overlap as one."""
    merged: list[Stretch] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def gaps_of(spans: Sequence[Stretch], whole: float) -> list[Stretch]:
    """Return the longest stretches that are worth a word, in order, in which there was no step at all."""
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
    """What a step's time went by with, and until when it does where it is not over."""
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
                ("is tried again", step.wakes_at) if step.wakes_at else ("is tried again with the next attempt", None)
            )
        case _, "failed":
            return f"failed after {took}", None
        case _:
            return (f"took {took}", None) if over else ("runs", None)


def _left_words(step: DurableStep) -> str:
    """What a step was at when its run ended without it."""
    match step.kind:
        case "sleep":
            return "slept when the run ended"
        case "event":
            return f"waited for {step.name} when the run ended"
        case "child":
            return f"waited for task {step.child_id} when the run ended"
        case _:
            return "was to be tried again when the run ended"


def _track(axis: Axis, begin: float, end: float, css: str, words: str) -> Markup:
    x, last = axis.place(begin), axis.place(end)
    wide = max(last - x, _LEAST)
    cuts = [
        element("rect", css="run-cut", x=first, y=0, width=until - first, height=_HIGH) for first, until in axis.short
    ]
    bar = element("rect", element("title", words), css=css, x=min(x, WIDTH - wide), y=3, width=wide, height=_HIGH - 6)
    # Stretched to the width that there is; what it says stands beside it as text.
    return element(
        "svg", *cuts, bar, css="track", viewBox=f"0 0 {WIDTH:.0f} {_HIGH}", preserveAspectRatio="none", role="img",
        aria_label=words,
    )  # fmt: skip
