"""The figures as pictures, by matplotlib."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import OURS, CaseFigures, SideFigures

OUR_COLOUR, THEIR_COLOUR, SHORT_COLOUR = "#2a6f97", "#b8c4cc", "#c8553d"


def draw(cases: Sequence[CaseFigures], folder: Path) -> list[Path]:
    """Write the pictures that the cases allow; returns where. Nothing where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib as mpl

    mpl.use("agg")
    by_name = {case.name: case for case in cases}
    drawn = []
    if "drain" in by_name:
        drawn.append(_drain(by_name["drain"], folder / "benchmark-drain.png"))
    if "pickup" in by_name:
        drawn.append(_pickup(by_name["pickup"], folder / "benchmark-pickup.png"))
    if any(target.score for case in cases for target in case.targets):
        drawn.append(_targets(cases, folder / "benchmark-targets.png"))
    return drawn


def _drain(case: CaseFigures, path: Path) -> Path:
    sides = sorted(_measured(case), key=lambda side: side.middle("per_second"))
    figure, axes = _figure(0.45 * len(sides) + 1.2)
    values = [side.middle("per_second") for side in sides]
    spans = [side.span("per_second") for side in sides]
    errors = [
        [value - low for value, (low, _) in zip(values, spans, strict=True)],
        [high - value for value, (_, high) in zip(values, spans, strict=True)],
    ]
    colours = [OUR_COLOUR if side.name == OURS else THEIR_COLOUR for side in sides]
    bars = axes.barh([side.name for side in sides], values, xerr=errors, color=colours, ecolor="#555555", capsize=3)
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=6, fontsize=9)
    axes.set_xlim(0, max(high for _, high in spans) * 1.15)
    axes.set_xlabel("tasks a second: median, lowest and highest round")
    axes.set_title(case.title)
    return _save(figure, path)


def _pickup(case: CaseFigures, path: Path) -> Path:
    sides = _measured(case)
    figure, axes = _figure(0.9 * len(sides) + 1.2)
    for place, side in enumerate(sides):
        for offset, metric in ((0.2, "p50_ms"), (-0.2, "p99_ms")):
            value = side.middle(metric)
            colour = OUR_COLOUR if side.name == OURS else THEIR_COLOUR
            bar = axes.barh(place + offset, value, height=0.36, color=colour, alpha=1 if metric == "p50_ms" else 0.6)
            axes.bar_label(bar, labels=[f"{metric[:3]} {value:.2f} ms"], padding=4, fontsize=9)
    axes.set_yticks(range(len(sides)), [side.name for side in sides])
    axes.margins(x=0.25)
    axes.set_xlabel("ms from the commit to the handler's start")
    axes.set_title(case.title)
    return _save(figure, path)


def _targets(cases: Sequence[CaseFigures], path: Path) -> Path:
    rows = [
        (f"{case.name}: {target.text}", min(target.score, 10.0), target.got)
        for case in reversed(cases)
        for target in reversed(case.targets)
        if target.score is not None
    ]
    figure, axes = _figure(0.32 * len(rows) + 1.2)
    scores = [score for _, score, _ in rows]
    colours = [OUR_COLOUR if score >= 1 else SHORT_COLOUR for score in scores]
    bars = axes.barh([name for name, _, _ in rows], scores, color=colours)
    axes.bar_label(bars, labels=[got for _, _, got in rows], padding=4, fontsize=8)
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_xlim(0, max(scores) * 1.15)
    axes.set_xlabel("measured against the target: 1 is just reached")
    axes.tick_params(axis="y", labelsize=8)
    return _save(figure, path)


def _measured(case: CaseFigures) -> list[SideFigures]:
    return [side for side in case.sides if side.best and side.rounds]


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, max(height, 2.2)), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return path
