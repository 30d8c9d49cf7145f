"""Panels of a Grafana dashboard with their figures, drawn by matplotlib in the manner of its dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUND, PANEL, EDGE, GRID, TEXT, FAINT = "#111217", "#181b1f", "#2c3235", "#25282d", "#d5d5df", "#8e8f9a"
NAMED = {
    "green": "#73bf69", "orange": "#ff9830", "yellow": "#fade2a", "red": "#f2495c", "blue": "#5794f2",
    "super-light-blue": "#c0d8ff", "purple": "#b877d9", "semi-dark-yellow": "#e0b400", "gray": "#9fa3ab",
}  # fmt: skip
CLASSIC = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#5794f2", "#ba43a9", "#b877d9", "#fade2a")
SHOWN = (
    "Attempts by outcome", "Share that fails", "Queue depth", "Oldest due",
    "Start delay", "Duration of attempts", "Running and slots", "Workers and listeners",
    "Leases and ticks", "Claims", "Batch size", "Claim seconds",
    "Dead letters", "Database errors", "Dead tuples", "Time in handlers",
)  # fmt: skip
COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that was done during the run."""

    at: float
    """Seconds from the begin."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A panel and what its queries gave."""

    panel: dict[str, Any]
    lines: dict[str, list[tuple[float, float]]]
    """Points by legend: seconds from the begin, value."""

    @property
    def title(self) -> str:
        """The panel's."""
        return str(self.panel["title"])

    @property
    def unit(self) -> str:
        """The panel's."""
        return str(self.panel["fieldConfig"]["defaults"]["unit"])


def draw(shots: Sequence[Shot], events: Sequence[Event], path: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    mpl.rcParams |= {"font.family": "DejaVu Sans", "font.size": 8, "text.color": TEXT}
    stats = [shot for shot in shots if shot.panel["type"] == "stat"]
    graphs = {shot.title: shot for shot in shots if shot.panel["type"] == "timeseries"}
    rows = math.ceil(len(SHOWN) / COLUMNS)
    figure = pyplot.figure(figsize=(16, 1.5 + 2.45 * rows), facecolor=GROUND)
    grid = figure.add_gridspec(
        rows + 1, 12, height_ratios=[0.42, *[1] * rows], left=0.01, right=0.99, top=0.99, bottom=0.045, wspace=0.1,
        hspace=0.06,
    )  # fmt: skip
    for place, shot in enumerate(stats[:6]):
        _stat(figure.add_subplot(grid[0, 2 * place : 2 * place + 2]), shot)
    for place, title in enumerate(SHOWN):
        row, column = divmod(place, COLUMNS)
        _graph(figure, grid[row + 1, 3 * column : 3 * column + 3], graphs[title], events)
    told = "     ".join(f"{number}  {_minutes(event.at)} {event.text}" for number, event in enumerate(events, 1))
    figure.text(0.5, 0.017, told, color=FAINT, fontsize=8.5, ha="center")
    figure.savefig(path, dpi=100, facecolor=GROUND, metadata={"Software": None})
    pyplot.close(figure)
    _make_small(path)


def _stat(axes: Any, shot: Shot) -> None:
    points = next(iter(shot.lines.values()), [])
    value = points[-1][1] if points else 0.0
    colour = NAMED["green"]
    for step in shot.panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = NAMED[step["color"]]
    _frame(axes)
    axes.set_xticks([])
    axes.set_yticks([])
    if points:
        highest = max(value for _, value in points) or 1
        axes.fill_between(*zip(*points, strict=True), color=colour, alpha=0.18, linewidth=0)
        axes.set_ylim(0, 3 * highest)
        axes.set_xlim(points[0][0], points[-1][0])
    axes.text(0.5, 0.42, _shown(value, shot.unit), color=colour, fontsize=21, transform=axes.transAxes, ha="center")
    axes.text(0.02, 0.93, shot.title, fontsize=8.5, weight="bold", transform=axes.transAxes, va="top")


def _graph(figure: Any, place: Any, shot: Shot, events: Sequence[Event]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    back = figure.add_subplot(place)
    _frame(back)
    back.set_xticks([])
    back.set_yticks([])
    back.text(0.02, 0.965, shot.title, fontsize=9, weight="bold", transform=back.transAxes, va="top")
    axes = back.inset_axes((0.115, 0.225, 0.865, 0.635))
    axes.set_facecolor(PANEL)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=FAINT, length=0, labelsize=7.5)
    custom = shot.panel["fieldConfig"]["defaults"]["custom"]
    stacked = custom["stacking"]["mode"] == "normal"
    colours = _colours(shot)
    begin = min((points[0][0] for points in shot.lines.values()), default=0.0)
    end = max((points[-1][0] for points in shot.lines.values()), default=1.0)
    below: dict[float, float] = {}
    highest = 0.0
    # A series without the label that the legend names is the 0 in place of none.
    lines = {legend: points for legend, points in shot.lines.items() if "{{" not in legend} or {"0": _only(shot)}
    for legend, points in lines.items():
        known = [(at, value) for at, value in points if not math.isnan(value)]
        if not known:
            continue
        at = [one for one, _ in known]
        base = [below.get(one, 0.0) if stacked else 0.0 for one in at]
        top = [value + under for (_, value), under in zip(known, base, strict=True)]
        if stacked:
            below |= dict(zip(at, top, strict=True))
        highest = max(highest, *top)
        drawn = not stacked or any(value for _, value in known)
        axes.plot(
            at if drawn else [], top if drawn else [], color=colours[legend], linewidth=1.1, label=legend, zorder=3
        )
        axes.fill_between(at, base, top, color=colours[legend], alpha=custom["fillOpacity"] / 100, linewidth=0)
    axes.set_xlim(begin, end)
    axes.set_ylim(0, 1.12 * highest or 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _minutes(value)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value, shot.unit)))
    for number, event in enumerate(events, 1):
        axes.axvline(event.at, color="#00d3ff", linewidth=0.7, linestyle=(0, (3, 3)), alpha=0.55, zorder=2)
        axes.text(
            event.at,
            1.01,
            str(number),
            color="#00a9cc",
            fontsize=6.5,
            ha="center",
            transform=axes.get_xaxis_transform(),
        )
    handles, names = axes.get_legend_handles_labels()
    if names:
        # What was never more than 0 gives its place to the others.
        busy = {legend for legend, points in lines.items() if any(value > 0 for _, value in points)} or set(names)
        handles, names = zip(*[pair for pair in zip(handles, names, strict=True) if pair[1] in busy], strict=True)
        back.legend(
            handles, names, loc="lower left", bbox_to_anchor=(0.01, -0.015), ncols=6,
            frameon=False, fontsize=7.5, labelcolor=TEXT, handlelength=1.1, handletextpad=0.4, columnspacing=1.0,
        )  # fmt: skip


def _frame(axes: Any) -> None:
    axes.set_facecolor(PANEL)
    for spine in axes.spines.values():
        spine.set_color(EDGE)


def _colours(shot: Shot) -> dict[str, str]:
    fixed = {
        one["matcher"]["options"]: NAMED[one["properties"][0]["value"]["fixedColor"]]
        for one in shot.panel["fieldConfig"]["overrides"]
    }
    named = sorted(legend for legend in shot.lines if "{{" not in legend)
    return {"0": CLASSIC[0]} | {
        legend: fixed.get(legend, CLASSIC[place % len(CLASSIC)]) for place, legend in enumerate(named)
    }


def _only(shot: Shot) -> list[tuple[float, float]]:
    return next(iter(shot.lines.values()), [])


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        if value and value < 1:
            return f"{1000 * value:.3g} ms"
        return f"{value / 60:.3g} min" if value >= 120 else f"{value:.3g} s"
    text = f"{value / 1000:.3g} k" if value >= 1000 else f"{value:.3g}"
    return f"{text}/s" if unit == "ops" else text


def _make_small(path: Path) -> None:
    """A picture of few colours needs no more than a palette."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
