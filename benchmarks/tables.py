"""The figures as tables: for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import OURS, CaseFigures, SideFigures, TargetFigures
from benchmarks.words import number


def for_terminal(cases: Sequence[CaseFigures]) -> str:
    """Every case with all its sides."""
    return "\n".join(line for case in cases for line in _case_lines(case))


def _case_lines(case: CaseFigures) -> Iterator[str]:
    yield f"\n{case.name}: {case.title}"
    main, unit = next(iter(case.metrics.items()))
    for side in case.sides:
        if side.left_out is not None:
            yield f"  {side.name:30} left out: {side.left_out}"
            continue
        low, high = side.span(main)
        ratio = f"{side.ratio:5.2f} x" if side.ratio is not None else ""
        shown = f"{number(side.middle(main))} {unit}"
        extra = ", ".join(f"{number(side.middle(name))} {more}" for name, more in _rest(case, side))
        span = f"({number(low)} to {number(high)})" if len(side.rounds) > 1 else ""
        yield f"  {side.name:30} {shown:>22} {span:22} {ratio:8} {extra}".rstrip()
        if side.does:
            yield f"  {'':30}   {side.does}"
    for target in case.targets:
        yield f"  target {target.text}: {target.got}, {verdict(target)}"


def _described(picture: str) -> str:
    """What a picture shows, for those who cannot see it; the tables below it have the figures."""
    return {
        "benchmark-drain": "Bars: tasks a second of pgsched and its peers",
        "benchmark-pickup": "Bars: milliseconds from an insert to the start of its task",
        "benchmark-targets": "Bars: what was measured beside what was aimed at, for each target",
    }.get(picture, f"Bars: {picture.replace('-', ' ')}")


def for_docs(cases: Sequence[CaseFigures], pictures: Sequence[Path]) -> str:
    """Markdown: what was aimed at and what came out, then every case with the best setting of each peer."""
    lines = [line for path in pictures for line in (f"![{_described(path.stem)}]({path.name})", "")]
    lines += ["| case | target | measured | |", "|---|---|---|---|"]
    for case in cases:
        for place, target in enumerate(case.targets):
            shown = case.title if place == 0 else ""
            lines.append(f"| {shown} | {target.text} | {target.got} | {verdict(target)} |")
    for case in cases:
        units = " · ".join(case.metrics.values())
        lines += ["", f"### {case.title}", ""]
        lines += [f"| side | {units} | lowest to highest | pgsched ÷ it | |", "|---|---|---|---|---|"]
        lines += [_row(case, side) for side in case.sides if side.best or side.left_out is not None]
        lines += ["", f"Measured {case.measured}, {_rounds(case)}, {', '.join(_named(case))}."]
    return "\n".join(lines)


def put_into(page: str, text: str, mark: str = "figures") -> str:
    """The page with the text between its marks. Raises ValueError when it has none."""
    first, last = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page must have the marks {first} and {last}")
    return f"{before}{first}\n\n{text}\n\n{last}{after}"


def _row(case: CaseFigures, side: SideFigures) -> str:
    if side.left_out is not None:
        return f"| {side.name} | left out: {side.left_out} | | | {side.does} |"
    main = next(iter(case.metrics))
    values = " · ".join(number(side.middle(name)) if name in side.rounds[0] else "–" for name in case.metrics)
    low, high = side.span(main)
    ratio = f"{side.ratio:.2f} ×" if side.ratio is not None else ""
    name = f"**{side.name}**" if side.name == OURS else side.name
    return f"| {name} | {values} | {number(low)} to {number(high)} | {ratio} | {side.does} |"


def _rest(case: CaseFigures, side: SideFigures) -> list[tuple[str, str]]:
    return [(name, unit) for name, unit in list(case.metrics.items())[1:] if name in side.rounds[0]]


def _rounds(case: CaseFigures) -> str:
    most = max((len(side.rounds) for side in case.sides), default=0)
    return f"median of {most} rounds" if most > 1 else "one round"


def _named(case: CaseFigures) -> list[str]:
    machine = case.machine
    return [machine["cpu"], f"PostgreSQL {machine['postgresql']}", f"Python {machine['python']}"]


def verdict(target: TargetFigures) -> str:
    """One or two words."""
    return {True: "reached", False: "fell short", None: "not measured"}[target.kept]
