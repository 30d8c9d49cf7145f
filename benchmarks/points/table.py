"""From rounds to the table and the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.points.model import Form, Metric
from benchmarks.points.run import Outcome
from benchmarks.words import number

HEAD = ("", "point", "without it", "metric", "without", "with", "better by")
NO_FORM = "(cannot be removed)"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one form, compared with unmodified pgsched."""

    label: str
    point: str
    without_form: str
    metric: Metric
    without: tuple[float, ...]
    """One value a round; empty where there is no such form or it failed."""
    with_point: tuple[float, ...]
    failed: str | None
    machine: dict[str, str]

    @property
    def better_by(self) -> float | None:
        """The improvement factor of the point; None if it is unknown."""
        if not self.without or not self.with_point:
            return None
        good, bad = median(self.with_point), median(self.without)
        above, below = (good, bad) if self.metric.more_is_better else (bad, good)
        return above / below if below else None

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        ratio = self.better_by
        return (
            self.label,
            self.point,
            self.without_form if self.failed is None else f"{self.without_form}: failed, {self.failed}",
            self.metric.unit,
            number(median(self.without)) if self.without else "–",
            number(median(self.with_point)) if self.with_point else "–",
            "–" if ratio is None else f"{ratio:.2f} ×",
        )

    def as_json(self) -> dict[str, object]:
        """As the file holds it."""
        return {
            "label": self.label,
            "point": self.point,
            "without_form": self.without_form,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "without": median(self.without) if self.without else None,
            "with": median(self.with_point) if self.with_point else None,
            "better_by": self.better_by,
            "rounds": {"without": self.without, "with": self.with_point},
            "failed": self.failed,
            "machine": self.machine,
        }


def rows_of(outcome: Outcome, machine: dict[str, str]) -> Iterator[Row]:
    """The rows of one comparison: each form without the point, each metric."""
    comparison = outcome.comparison
    missing = Form(label=comparison.label, does=NO_FORM)
    for form in comparison.withouts or (missing,):
        for metric in comparison.metrics:
            yield Row(
                label=form.label,
                point=comparison.title,
                without_form=form.does,
                metric=metric,
                without=_values(outcome, form.label, metric),
                with_point=_values(outcome, comparison.as_it_is.label, metric),
                failed=outcome.failed.get(form.label) or outcome.failed.get(comparison.as_it_is.label),
                machine=machine,
            )


def for_terminal(rows: Sequence[Row]) -> str:
    """A Markdown table; what is the same as in the line above is not repeated."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = [_line(HEAD, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    above: Sequence[str] = HEAD
    for line in lines[1:]:
        same = line[:3] == above[:3]
        point = "" if line[1] == above[1] else line[1]
        shown.append(_line(("", "", "", *line[3:]) if same else (line[0], point, *line[2:]), widths))
        above = line
    return "\n".join(shown)


def write(path: Path, head: dict[str, object], rows: Sequence[Row]) -> None:
    """Write everything measured so far."""
    text = json.dumps({**head, "rows": [row.as_json() for row in rows]}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _values(outcome: Outcome, label: str, metric: Metric) -> tuple[float, ...]:
    return tuple(one[metric.name] for one in outcome.rounds.get(label, ()))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
