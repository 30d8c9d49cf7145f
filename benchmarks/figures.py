"""From rounds to figures: medians, ratios, and whether the targets are reached. What is shown is read from these."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.model import Bound, Case, Metrics, Target
from benchmarks.run import Outcome
from benchmarks.words import number

OURS = "pgsched"


@dataclass(frozen=True, kw_only=True)
class SideFigures:
    """One side of a case."""

    name: str
    peer: str
    does: str
    rounds: list[Metrics] = field(default_factory=list)
    left_out: str | None = None
    ratio: float | None = None
    """Ours divided by theirs, of the main metric."""
    best: bool = True
    """Of the settings of one peer, the fastest."""

    def middle(self, metric: str) -> float:
        return median(one[metric] for one in self.rounds)

    def span(self, metric: str) -> tuple[float, float]:
        values = [one[metric] for one in self.rounds]
        return min(values), max(values)


@dataclass(frozen=True, kw_only=True)
class TargetFigures:
    """One target and what came out; ``kept`` is None when the other side is missing."""

    text: str
    got: str
    kept: bool | None
    score: float | None
    """1 is just reached, more is better."""


@dataclass(frozen=True, kw_only=True)
class CaseFigures:
    """One case as it was measured."""

    name: str
    title: str
    metrics: dict[str, str]
    measured: str
    machine: dict[str, str]
    sides: list[SideFigures]
    targets: list[TargetFigures]


def figures_of(outcome: Outcome, machine: dict[str, str]) -> CaseFigures:
    """Work out one case."""
    case = outcome.case
    middles = {name: _middles(rounds) for name, rounds in outcome.rounds.items()}
    ours = middles.get(OURS, {}).get(case.main)
    best = {peer: _best(case, peer, middles) for peer in {side.peer for side in case.sides}}
    sides = [
        SideFigures(
            name=side.name,
            peer=side.peer,
            does=side.does,
            rounds=outcome.rounds.get(side.name, []),
            left_out=outcome.left_out.get(side.name),
            ratio=_ratio(ours, middles.get(side.name, {}).get(case.main)) if side.name != OURS else None,
            best=best[side.peer] == side.name,
        )
        for side in case.sides
    ]
    known = {peer: middles[name] for peer, name in best.items() if name is not None}
    return CaseFigures(
        name=case.name,
        title=case.title,
        metrics=dict(case.metrics),
        measured=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=machine,
        sides=sides,
        targets=[_judge(target, known) for target in case.targets],
    )


def _middles(rounds: Sequence[Metrics]) -> Metrics:
    return {metric: median(one[metric] for one in rounds) for metric in rounds[0]}


def _best(case: Case, peer: str, middles: Mapping[str, Metrics]) -> str | None:
    known = [side.name for side in case.sides if side.peer == peer and side.name in middles]
    return max(known, key=lambda name: middles[name][case.main], default=None)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _judge(target: Target, middles: Mapping[str, Metrics]) -> TargetFigures:
    judged = [one for bound in target.bounds if (one := _keep(bound, middles)) is not None]
    if not judged:
        return TargetFigures(text=target.text, got="not measured", kept=None, score=None)
    got, score = max(judged, key=lambda one: one[1])
    return TargetFigures(text=target.text, got=got, kept=score >= 1, score=score)


def _keep(bound: Bound, middles: Mapping[str, Metrics]) -> tuple[str, float] | None:
    """What came out, and how far it is on the right side of the bound."""
    value = middles.get(bound.side, {}).get(bound.metric)
    if value is None:
        return None
    got = number(value)
    if bound.against is not None:
        other = middles.get(bound.against, {}).get(bound.metric)
        if not other:
            return None
        value /= min(other, bound.capped or other)
        got = f"{value:.2f} ×"
    if bound.at_least is not None:
        return got, value / bound.at_least
    if bound.at_most is not None:
        return got, bound.at_most / value if value > 0 else float("inf")
    raise ValueError("a bound must have a limit")


def this_machine(server_version: str) -> dict[str, str]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": f"{os.cpu_count()} × {model}",
        "postgresql": server_version,
        "python": platform.python_version(),
    }


def write(path: Path, cases: Sequence[CaseFigures]) -> list[CaseFigures]:
    """Write the cases into the file, beside those that are there already; returns all of them."""
    known = {case.name: case for case in read(path)} if path.exists() else {}
    known |= {case.name: case for case in cases}
    text = json.dumps({"cases": [asdict(case) for case in known.values()]}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return list(known.values())


def read(path: Path) -> list[CaseFigures]:
    """The cases of a file that :func:`write` wrote."""
    return [
        CaseFigures(
            **{
                **case,
                "sides": [SideFigures(**side) for side in case["sides"]],
                "targets": [TargetFigures(**target) for target in case["targets"]],
            }
        )
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
    ]
