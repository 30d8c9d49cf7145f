"""The tables of :mod:`benchmarks.growth`, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.producers import Inserts
from benchmarks.words import number
from pgsched.bench.forecast import Costs, Forecast, Site, forecast

if TYPE_CHECKING:
    from benchmarks.growth import Judged

KNEE = 0.95
"""Share of the highest rate from which more processes are said to bring nothing."""
TITLES = {
    "workers": "No-op tasks, by processes and concurrency",
    "waiting": "Tasks that wait 10 ms",
    "distance": "Round trips to the server",
    "disk": "Disks",
}
COLUMNS = (
    "processes × concurrency",
    "tasks/s",
    "predicted",
    "÷ measured",
    "predicted limit",
    "cores used: workers, server",
    "statements for 1,000 tasks, bytes of WAL a task",
    "sessions of workers on average",
    "pick-up, ms",
    "predicted",
)


@dataclass(frozen=True, kw_only=True)
class Producers:
    """Inserts on a number of connections beside what the model says."""

    connections: int
    rate: float
    found: Forecast
    server_cores: float
    calibrates: bool


def producers(inserted: Sequence[Inserts], sync: float, *, cores: float) -> list[Producers]:
    """Calibrate by one connection, and predict the others."""
    by_number: dict[int, list[Inserts]] = {}
    for one in inserted:
        by_number.setdefault(one.connections, []).append(one)
    single = by_number[1]
    costs = Costs(
        worker=1.0,
        server=1.0,
        insert=max(median(1 / one.per_second for one in single) - sync, 0.0),
        insert_processor=median(one.processor for one in single),
        pickup=0.0,
    )
    return [
        Producers(
            connections=connections,
            rate=median(one.per_second for one in found),
            found=forecast(costs, Site(cores=cores, sync=sync, connections=connections)),
            server_cores=median(one.server_cores for one in found),
            calibrates=connections == 1,
        )
        for connections, found in by_number.items()
    ]


def text(
    judged: Sequence[Judged], inserts: Sequence[Producers], machine: Mapping[str, str], rounds: int, when: datetime
) -> str:
    """Everything between the marks of the page."""
    lines: list[str] = []
    for group, title in TITLES.items():
        alike = [one for one in judged if one.point.group == group]
        lines += [f"### {title}", "", *_points(alike), ""]
        if group == "workers":
            lines += [knee(alike), ""]
    lines += ["### Connections that insert", "", *_inserts(inserts), "", *_errors(judged, inserts), ""]
    many = f"median of {rounds} rounds" if rounds > 1 else "one round"
    lines.append(
        f"Measured {when:%Y-%m-%d %H:%M} UTC, {many}, {machine['cpu']}, PostgreSQL {machine['postgresql']}, "
        f"Python {machine['python']}."
    )
    return "\n".join(lines)


def error(ratios: Iterable[float]) -> float:
    """The median distance of ratios from 1, as a share: 1.25 and 0.8 are both 0.25."""
    return median(max(one, 1 / one) - 1 for one in ratios)


def _points(judged: Sequence[Judged]) -> list[str]:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for one in judged:
        calibrates = one.point.calibrates
        cells = (
            _named(one),
            number(one.rate),
            "calibration" if calibrates else number(one.found.rate),
            "" if calibrates else f"{one.found.rate / one.rate:.2f}",
            one.found.limit,
            f"{one.worker_cores:.2f}, {one.server_cores:.2f}",
            f"{number(one.statements * 1000)}, {number(one.wal)}",
            ", ".join(f"{what} {n:.1f}" for what, n in one.busiest),
            f"{one.pickup * 1000:.1f}",
            "" if calibrates else f"{one.found.pickup * 1000:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def knee(judged: Sequence[Judged]) -> str:
    """Say where more worker processes no longer help, and what is used up there."""
    alike = sorted((one for one in judged if one.point.concurrency == 100), key=lambda one: one.point.processes)
    highest = max(one.rate for one in alike)
    first = next(one for one in alike if one.rate >= KNEE * highest)
    used = first.worker_cores + first.server_cores
    busiest = " and ".join(f"{n:.1f} {what}" for what, n in first.busiest)
    return (
        f"The knee is at {first.point.processes} × 100: {number(first.rate)} tasks/s; no number of processes reaches "
        f"more than {number(highest)}. There, workers and server use {used:.2f} of {first.site.cores:g} cores, and the "
        f"server writes {first.wal * first.rate / 1e6:.0f} MB of WAL a second; of the workers' sessions, on average "
        f"{busiest}."
    )


def _named(one: Judged) -> str:
    point = one.point
    parts = [f"{point.processes} × {point.concurrency}"]
    if point.handler and point.group != "waiting":
        parts.append(f"{point.handler * 1000:g} ms")
    if point.group == "distance":
        parts.append(f"round trip {one.site.round_trip * 1000:.2f} ms")
    if point.group == "disk":
        parts.append(f"{point.disk}: a commit waits {one.site.sync * 1000:.2f} ms")
    return ", ".join(parts)


def _inserts(inserts: Sequence[Producers]) -> list[str]:
    lines = ["| connections | inserts/s | predicted | ÷ measured | predicted limit | cores used by the server |"]
    lines.append("|---" * 6 + "|")
    for one in inserts:
        predicted = (
            ("calibration", "")
            if one.calibrates
            else (number(one.found.inserts), f"{one.found.inserts / one.rate:.2f}")
        )
        cells = (str(one.connections), number(one.rate), *predicted, one.found.insert_limit, f"{one.server_cores:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _errors(judged: Sequence[Judged], inserts: Sequence[Producers]) -> list[str]:
    seen = [one for one in judged if not one.point.calibrates]
    ratios = {
        "tasks a second": [one.found.rate / one.rate for one in seen],
        "pick-up, no-op tasks": [
            one.found.pickup / one.pickup for one in seen if not one.point.handler and one.pickup and one.found.pickup
        ],
        "inserts a second": [one.found.inserts / one.rate for one in inserts if not one.calibrates],
    }
    lines = ["| predicted ÷ measured | points | median error | lowest | highest |", "|---|---|---|---|---|"]
    for what, found in ratios.items():
        if found:
            lines.append(
                f"| {what} | {len(found)} | {100 * error(found):.0f} % | {min(found):.2f} | {max(found):.2f} |"
            )
    return lines
