"""The rows of the odd shapes as tables: for the terminal and for docs/shapes.md, and as the file they are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.shapes.model import OddShape, Row, Window

HEADER = (
    *("shape", "size", "time", "rate", "worker", "server process", "longest transaction", "slowest page"),
    *("ordinary before", "during", "after"),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of ``python -m chaos.shapes`` measured."""

    measured: str
    machine: dict[str, str]
    rows: list[Row]


def write(path: Path, run: Run) -> None:
    """Keep it in a file."""
    path.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Run:
    """What :func:`write` wrote."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Run(**{**kept, "rows": [_row(row) for row in kept["rows"]]})


def _row(kept: dict[str, Any]) -> Row:
    windows = {name: Window(**kept[name]) for name in ("before", "during", "after")}
    return Row(**{**kept, **windows})


def merge(known: Sequence[Row], new: Sequence[Row], *, order: Sequence[str]) -> list[Row]:
    """The new rows beside those of other shapes that are known, in the order of the shapes."""
    rows = {row.shape: row for row in known} | {row.shape: row for row in new}
    return [rows[name] for name in order if name in rows]


def line(row: Row) -> str:
    """A row for the terminal; what else was measured and what is wrong below."""
    return "\n".join(
        [
            f"{row.shape:24} " + " | ".join(_cells(row, "items")[1:]),
            *(f"    {one}" for one in row.told),
            *(f"    WRONG: {one}" for one in row.broken),
        ]
    )


def for_docs(run: Run, shapes: Mapping[str, type[OddShape]]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    for row in run.rows:
        name, *cells = _cells(row, shapes[row.shape].things if row.shape in shapes else "")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    told = [f"- `{row.shape}`: {' '.join(row.told)}" for row in run.rows if row.told]
    wrong = [f"- `{row.shape}` fails: {'; '.join(row.broken)}" for row in run.rows if row.broken]
    machine = ", ".join(
        [run.machine["cpu"], f"PostgreSQL {run.machine['postgresql']}", f"Python {run.machine['python']}"]
    )
    return "\n".join([*lines, "", *told, *wrong, "", f"{run.measured}; {machine}."])


def meanings(shapes: Mapping[str, type[OddShape]]) -> str:
    """Markdown: what each shape is."""
    return "\n".join(
        ["| shape | what is done |", "|---|---|", *(f"| `{name}` | {one.does} |" for name, one in shapes.items())]
    )


def _cells(row: Row, things: str) -> list[str]:
    return [
        row.shape,
        f"{row.size:,} {things}",
        f"{row.seconds:.1f} s",
        f"{row.rate:,.0f}/s",
        f"{row.worker_before_mb:.0f} + {row.worker_mb:.0f} MB",
        f"{row.server_mb:.0f} MB",
        f"{row.longest_transaction:.1f} s",
        f"{row.page_ms:.0f} ms" if row.page_ms else "",
        *(_shown(window) for window in (row.before, row.during, row.after)),
    ]


def _shown(window: Window) -> str:
    return f"{window.rate:.0f}/s, {window.p50:.0f} / {window.p99:.0f} ms" if window.rate else "none"
