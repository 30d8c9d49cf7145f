"""``python -m chaos --peers``: the same faults and the same load for pgsched and its peers, and one table."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from benchmarks.figures import this_machine
from chaos.faults.model import Row, Size
from chaos.faults.stage import run_trial
from chaos.peers.contender import Contender, Tally
from chaos.peers.contenders import CONTENDERS
from chaos.peers.faults import FAULTS
from tests.support import servers

SIZE = Size(short=False, warm_up=1.0, before=3.0, after=3.0, lease=3.0)
MARK = "peers"
HEADER = (
    "queue",
    "fault",
    "tasks",
    "faults injected",
    "lost",
    "left open",
    "ran twice",
    "completed twice",
    "recovery",
    "tasks a second before",
    "throughput after ÷ before",
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One trial of one queue. ``tally`` is None when it did not take place, or broke off."""

    row: Row
    tally: Tally | None

    @property
    def cause(self) -> str | None:
        """Why there is no tally."""
        return self.row.left_out or (self.row.broken[0] if self.row.broken and self.tally is None else None)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run measured."""

    seed: int
    measured: str
    machine: dict[str, str]
    results: list[Result]


def run(*, seed: int, path: Path, names: Sequence[str] | None = None) -> int:
    """Run every trial, print its line, keep all in a file. Returns 1 when pgsched lost or completed something twice."""
    print(f"seed {seed}", flush=True)
    print(_head(), flush=True)
    results: list[Result] = []
    with servers.run_of_tests(), servers.default_server() as dsn:
        with psycopg.connect(dsn) as connection:
            machine = this_machine(connection.info.parameter_status("server_version") or "")
        for contender in CONTENDERS.values():
            for name in FAULTS if names is None else names:
                results.append(_result(contender(), name, seed, dsn))
                print(_line(results[-1]), flush=True)
                measured = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
                write(path, Run(seed=seed, measured=measured, machine=machine, results=results))
    print(f"written to {path}")
    ours = [one for one in results if one.row.system == "pgsched"]
    return int(any(one.tally is None or one.row.problems for one in ours))


def _result(contender: Contender, name: str, seed: int, dsn: str) -> Result:
    if (cause := contender.missing()) is not None:
        return Result(row=Row(system=contender.name, fault=name, seed=seed, left_out=cause), tally=None)
    try:
        row = run_trial(FAULTS[name](), SIZE, seed=seed, server_dsn=dsn, system=contender)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the other trials still take place
        traceback.print_exc()
        broken = f"the trial broke off: {type(error).__name__}: {str(error).splitlines()[0]}"
        return Result(row=Row(system=contender.name, fault=name, seed=seed, broken=[broken]), tally=None)
    if contender.name != "pgsched":
        # The exit codes and logs of a peer's workers are not checked.
        row = replace(row, broken=[])
    return Result(row=row, tally=contender.tally)


def write(path: Path, run: Run) -> None:
    """Keep it in a file."""
    path.write_text(json.dumps(asdict(run), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Run:
    """What :func:`write` wrote."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    results = [
        Result(row=Row(**one["row"]), tally=Tally(**one["tally"]) if one["tally"] else None) for one in kept["results"]
    ]
    return Run(**{**kept, "results": results})


def for_docs(run: Run) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for one in run.results:
        if one.cause is not None:
            lines.append(f"| {one.row.system} | `{one.row.fault}` | {one.cause} |" + " |" * (len(HEADER) - 3))
            continue
        system, fault, tasks, injected, *others = _cells(one)
        cells = [system, f"`{fault}`", tasks, f"{injected} {FAULTS[one.row.fault].injects}", *others]
        lines.append(f"| {' | '.join(cells)} |")
    machine = f"{run.machine['cpu']}, PostgreSQL {run.machine['postgresql']}, Python {run.machine['python']}"
    lines += [
        "",
        f"Seed {run.seed}; {run.measured}; {machine}.",
        "",
        "| queue | how its workers were started |",
        "|---|---|",
    ]
    lines += [f"| {_named(contender)} | {contender.settings} |" for contender in CONTENDERS.values()]
    lines += ["", "| fault | what is done |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {fault.does} |" for name, fault in FAULTS.items())])


def _named(contender: type[Contender]) -> str:
    """With its version, if it is installed."""
    if contender.missing() is not None or not contender.packages:
        return contender.name
    return f"{contender.name} {version(contender.packages[0])}"


def _cells(one: Result) -> list[str]:
    row, tally = one.row, one.tally
    assert tally is not None
    recovery = "not in 30 s" if row.recovery_seconds is None else f"{row.recovery_seconds:.1f} s"
    ratio = "" if row.recovery_seconds is None else f"{row.ratio:.2f}"
    numbers = (row.tasks, row.injected, tally.lost, tally.left_open, tally.ran_twice, tally.completed_twice)
    return [row.system, row.fault, *(f"{number:,}" for number in numbers), recovery, f"{row.before:.0f}", ratio]


_WIDTHS = (14, 16, 7, 9, 6, 10, 10, 16, 12, 14, 13)


def _head() -> str:
    names = (*HEADER[:3], "injected", *HEADER[4:9], "before, a second", "after ÷ before")
    return " ".join(f"{name:<{width}}" for name, width in zip(names, _WIDTHS, strict=True))


def _line(one: Result) -> str:
    if one.cause is not None:
        return f"{one.row.system:14} {one.row.fault:16} {one.cause}"
    text = " ".join(f"{cell:<{width}}" for cell, width in zip(_cells(one), _WIDTHS, strict=True))
    return "\n".join([f"{text}   ({one.row.seconds:g} s)", *(f"    {problem}" for problem in one.row.broken)])
