"""The rows of trials as tables: for the terminal and for docs/chaos.md, and as the file they are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos.faults.model import Fault, Row

HEADER = ("fault", "tasks", "faults injected", "lost", "duplicated", "recovery", "throughput after ÷ before")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of ``python -m chaos`` measured."""

    measured: str
    machine: dict[str, str]
    rows: list[Row]


def write(path: Path, run: Run) -> None:
    """Keep it in a file."""
    path.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Run:
    """What :func:`write` wrote."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Run(**{**kept, "rows": [Row(**row) for row in kept["rows"]]})


def line(row: Row, *, problems: bool = True) -> str:
    """A row for the terminal; what is wrong with it below."""
    if row.left_out is not None:
        return f"{row.fault:24} left out: {row.left_out}"
    cells = _cells(row)
    text = f"{row.fault:24} {cells[1]:>9} {cells[2]:>8} {cells[3]:>5} {cells[4]:>10} {cells[5]:>9} {cells[6]:>12}"
    return "\n".join(
        [
            f"{text}   ({row.seconds:g} s)",
            *(f"    {one}" for one in row.told),
            *(f"    {problem}" for problem in row.problems if problems),
        ]
    )


def head() -> str:
    """The line above the rows."""
    return (
        f"{'fault':24} {'tasks':>9} {'injected':>8} {'lost':>5} {'duplicated':>10} {'recovery':>9} {'after/before':>12}"
    )


def for_docs(run: Run, faults: Mapping[str, type[Fault]]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|---|---|---|---|---|---|---|"]
    for row in run.rows:
        if row.left_out is not None:
            lines.append(f"| `{row.fault}` | left out: {row.left_out} | | | | | |")
            continue
        name, *cells = _cells(row)
        kind = faults[row.fault].injects if row.fault in faults else "faults"
        cells[1] = f"{cells[1]} {kind}"
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    machine = ", ".join(
        [run.machine["cpu"], f"PostgreSQL {run.machine['postgresql']}", f"Python {run.machine['python']}"]
    )
    seeds = ", ".join(map(str, sorted({row.seed for row in run.rows})))
    short = [f"`{row.fault}`" for row in run.rows if row.short]
    form = f" Of {', '.join(short)} the short form." if short else ""
    told = [f"`{row.fault}`: {' '.join(row.told)}\n" for row in run.rows if row.told]
    return "\n".join([*lines, "", *told, f"Seed {seeds}; {run.measured}; {machine}.{form}"])


def meanings(faults: Mapping[str, type[Fault]]) -> str:
    """Markdown: what each fault does."""
    lines = ["| fault | what is done |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {fault.does} |" for name, fault in faults.items())])


def put_into(page: str, mark: str, text: str) -> str:
    """The page with the text between ``<!-- mark: begin -->`` and ``end``. Raises ValueError when it has them not."""
    opening, closing = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, begin, rest = page.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise ValueError(f"the page must have the marks {opening} and {closing}")
    return f"{before}{opening}\n\n{text}\n\n{closing}{after}"


def merge(known: Sequence[Row], new: Sequence[Row], *, order: Sequence[str]) -> list[Row]:
    """The new rows beside those of other faults that are known, in the order of the faults."""
    rows = {row.fault: row for row in known} | {row.fault: row for row in new}
    return [rows[fault] for fault in order if fault in rows]


def _cells(row: Row) -> list[str]:
    recovery = "never" if row.recovery_seconds is None else f"{row.recovery_seconds:.1f} s"
    numbers = [f"{row.tasks:,}", f"{row.injected:,}", f"{row.lost:,}", f"{row.duplicated:,}"]
    return [row.fault, *numbers, recovery, f"{row.ratio:.2f}"]
