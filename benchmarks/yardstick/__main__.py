"""``python -m benchmarks.yardstick``: the scenarios of hardbyte/postgresql-job-queue-benchmarking, for queues that run
here, into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from benchmarks import figures, tables
from benchmarks.words import number
from benchmarks.yardstick import cell
from benchmarks.yardstick.cell import Result
from benchmarks.yardstick.scenarios import SCENARIOS
from benchmarks.yardstick.server import Server
from benchmarks.yardstick.systems import ADAPTERS

PAGE = Path("docs/benchmarks.md")
MARK = "yardstick"


def main() -> int:
    """Run the cells and write the tables."""
    names = [one.name for one in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yardstick", description=__doc__)
    parser.add_argument("--systems", default=",".join(ADAPTERS), help=f"of {', '.join(ADAPTERS)}")
    parser.add_argument("--scenarios", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="of most phases")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--write-docs", action="store_true", help=f"put the tables into {PAGE}")
    options = parser.parse_args()
    systems, chosen = options.systems.split(","), options.scenarios.split(",")
    if unknown := (set(systems) - set(ADAPTERS)) | (set(chosen) - set(names)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.seconds < 4:
        parser.error("--seconds must be at least 4: a phase has one sample a second")
    results: list[Result] = []
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-yardstick-", ignore_cleanup_errors=True) as folder,
        Server(Path(folder) / "server") as server,
    ):
        for scenario in SCENARIOS:
            for name in systems if scenario.name in chosen else ():
                adapter = ADAPTERS[name]
                if adapter.missing:
                    results.append(Result(system=adapter.name, scenario=scenario.name, broken=adapter.missing))
                    continue
                try:
                    results.append(cell.run(server, adapter, scenario, options.seconds))
                except Exception as error:  # noqa: BLE001 - told in the table; the other cells still run
                    broken = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                    results.append(Result(system=adapter.name, scenario=scenario.name, broken=broken))
                print(f"{time.monotonic() - begun:4.0f} s: {results[-1]}", file=sys.stderr, flush=True)
        with psycopg.connect(server.dsn) as connection:
            machine = figures.this_machine(connection.info.parameter_status("server_version") or "")
    text = for_docs(results, options.seconds, machine, datetime.now(UTC))
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n", encoding="utf-8")
    if options.write_docs:
        PAGE.write_text(tables.put_into(PAGE.read_text(encoding="utf-8"), text, MARK), encoding="utf-8")
    return 0


def for_docs(results: Sequence[Result], seconds: float, machine: dict[str, str], when: datetime) -> str:
    """Markdown: the chaos scenarios, then those of pressure."""
    lines: list[str] = []
    for chaos in (True, False):
        scenarios = [one for one in SCENARIOS if one.chaos == chaos and any(one.name == r.scenario for r in results)]
        if not scenarios:
            continue
        head = ["scenario", "queue", "tasks/s before", "stress ÷ before", "recovery ÷ before"]
        head += ["recovery, s", "left", "ended"] if chaos else ["p95 pick-up before, ms", "under stress, ms"]
        head += [] if chaos else ["dead rows", "left", "ended"]
        lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for scenario in scenarios:
            for one in results:
                if one.scenario == scenario.name:
                    lines.append(f"| {' | '.join(_cells(one, chaos=chaos, width=len(head)))} |")
        lines += ["", "| scenario | tasks/s × processes | what happens |", "|---|---|---|"]
        lines += [f"| `{one.name}` | {one.rate} × {one.replicas} | {one.does} |" for one in scenarios]
        lines.append("")
    versions = ", ".join(
        f"{one.name} {version(one.packages[0])}" for one in ADAPTERS.values() if one.packages and not one.missing
    )
    lines.append(
        f"Measured {when:%Y-%m-%d %H:%M} UTC, one run, phases of {seconds:g} s, {machine['cpu']}, "
        f"PostgreSQL {machine['postgresql']}, Python {machine['python']}{', ' if versions else ''}{versions}."
    )
    return "\n".join(lines)


def _cells(one: Result, *, chaos: bool, width: int) -> list[str]:
    first = [f"`{one.scenario}`", f"**{one.system}**" if one.system == "pgsched" else one.system]
    if one.broken is not None:
        return [*first, f"left out: {one.broken}", *[""] * (width - 3)]
    first += [number(one.baseline), _share(one.stress, one.baseline), _share(one.recovery, one.baseline)]
    last = [f"{one.left:,}", ", ".join(_ends(one))]
    if chaos:
        return [*first, "not" if one.recovery_seconds is None else f"{one.recovery_seconds:.0f}", *last]
    return [*first, number(one.baseline_p95), number(one.stress_p95), f"{one.dead_rows:,}", *last]


def _share(value: float, baseline: float) -> str:
    return f"{100 * value / baseline:.0f} %" if baseline else "–"


def _ends(one: Result) -> list[str]:
    killed = [f"{one.killed} did not stop"] if one.killed else []
    return [*(f"by itself, {code}" for code in one.ended), *killed]


if __name__ == "__main__":
    sys.exit(main())
