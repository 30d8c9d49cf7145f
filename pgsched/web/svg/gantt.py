"""The tasks of a workflow over time: one track each, with a bar for every attempt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from markupsafe import Markup

from pgsched.db.queries.overviews import AttemptTime
from pgsched.web.formats import span
from pgsched.web.svg import element
from pgsched.web.svg.graphs import Node
from pgsched.web.svg.tracks import axis

MAX_ROWS = 300
"""Maximum number of tasks with a track; those that started first."""


class GanttRow(NamedTuple):
    """A task and its track; without one it has not started."""

    node: Node
    track: Markup | None


class Gantt(NamedTuple):
    """The rows of a workflow on one axis of time."""

    axis: Markup | None
    rows: Sequence[GanttRow]
    left_out: int
    """Number of tasks without a row."""


def gantt(nodes: Sequence[Node], attempts: Iterable[AttemptTime], now: datetime) -> Gantt:
    """Return the tasks in the order of their first attempts, those that have not started last."""
    by_task: dict[int, list[AttemptTime]] = defaultdict(list)
    for one in attempts:
        by_task[one.task_id].append(one)
    begun = sorted(
        (node for node in nodes if node.id in by_task), key=lambda node: (by_task[node.id][0].started_at, node.id)
    )
    ordered = [*begun, *(node for node in nodes if node.id not in by_task)]
    shown = ordered[:MAX_ROWS]
    every = [one for node in shown for one in by_task.get(node.id, ())]
    if not every:
        return Gantt(None, [GanttRow(node, None) for node in shown], len(ordered) - len(shown))
    since = min(one.started_at for one in every)
    until = max(max(one.finished_at or now for one in every), since + timedelta(milliseconds=1))
    rows = [
        GanttRow(node, _track(by_task[node.id], since, until, now) if node.id in by_task else None) for node in shown
    ]
    return Gantt(axis(since, until), rows, len(ordered) - len(shown))


def _track(attempts: Sequence[AttemptTime], since: datetime, until: datetime, now: datetime) -> Markup:
    bars = []
    for one in attempts:
        end = one.finished_at or now
        took = span((end - one.started_at).total_seconds())
        begin = (one.started_at - since) / (until - since)
        wide = max((end - one.started_at) / (until - since), 0.002)
        said = f", {one.status.replace('_', ' ')}, {took}"
        title = element(
            "title",
            f"{one.started_at.astimezone(UTC):%a %H:%M:%S} UTC{said}",
            data_moment=one.started_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            data_then=said,
        )
        place = {"x": f"{100 * min(begin, 0.998):.3f}%", "width": f"{100 * wide:.3f}%"}
        bars.append(element("rect", title, css=f"bar-{one.status}", y=3, height=12, rx=2, **place))
    last = attempts[-1]
    length = span(((last.finished_at or now) - attempts[0].started_at).total_seconds())
    label = f"{len(attempts)} attempts in {length}"
    return element("svg", *bars, css="ahead track-row", width="100%", height=18, role="img", aria_label=label)
