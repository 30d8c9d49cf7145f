"""``make bench``: measures pgsched beside its peers and its own limits, and says which targets are reached."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import psycopg

from benchmarks import figures, plots, tables
from benchmarks.cases import all_cases
from benchmarks.databases import SETTINGS, Databases
from benchmarks.model import MEANINGS, QUICK, Case, Sizes
from benchmarks.peers import Peers
from benchmarks.progress import Progress
from benchmarks.run import Runner, rounds_of, steps_of
from pgsched.db.embedded.server import EmbeddedServer

ROUNDS, QUICK_ROUNDS = 5, 2
FULL_FILE, QUICK_FILE = Path("bench.json"), Path("bench-quick.json")
DOCS = Path("docs")


def main() -> int:
    """Return 1 if one of pgsched's own sides failed or no case matches, but not if a target is missed."""
    options = _parser().parse_args()
    out: Path = options.out or (QUICK_FILE if options.quick else FULL_FILE)
    if options.write_docs:
        return _write_docs(out)
    changed = {name: value for name in MEANINGS if (value := getattr(options, name)) is not None}
    cases = all_cases(replace(QUICK if options.quick else Sizes(), **changed))
    if options.list:
        for case in cases:
            print(f"{case.name:10} {case.title}{' (large tables: takes minutes)' if case.slow else ''}")
        return 0
    if options.only:
        wanted = {name.strip() for name in options.only.split(",")}
        unknown = wanted - {case.name for case in cases}
        if unknown:
            print(f"unknown: {', '.join(sorted(unknown))}; see --list", file=sys.stderr)
            return 2
        cases = tuple(case for case in cases if case.name in wanted)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return _measure(cases, rounds, replace(QUICK if options.quick else Sizes(), **changed), out, quick=options.quick)


def _measure(cases: Sequence[Case], rounds: int, sizes: Sizes, out: Path, *, quick: bool) -> int:
    progress = Progress(steps_of(cases, rounds))
    measured: list[figures.CaseFigures] = []
    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        Peers(Path(name)) as peers,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        progress.begin("setting up")
        peers.set_up({need for case in cases for side in case.sides for need in side.needs})
        with psycopg.connect(server.dsn) as connection:
            machine = figures.this_machine(connection.info.parameter_status("server_version") or "")
        databases = Databases(server.dsn, Path(name) / "server" / "server.log", sizes)
        for outcome in Runner(databases=databases, peers=peers, progress=progress).run(cases, rounds):
            one = figures.figures_of(outcome, machine)
            measured.append(one)
            failed = failed or figures.OURS in outcome.left_out
            figures.write(out, [one])  # what is measured is kept, whatever happens to the rest
    progress.close()
    print(tables.for_terminal(measured))
    print(f"\nmedians of up to {max(rounds_of(case, rounds) for case in cases)} rounds; written to {out}")
    if quick:
        print("Small sizes: these figures only show that everything runs; do not quote them.")
    elif out == FULL_FILE:
        _say_drawn(plots.draw(figures.read(out), DOCS))
    return int(failed)


def _write_docs(out: Path) -> int:
    """Put the figures of the file into docs/benchmarks.md, and the pictures beside it."""
    if not out.exists():
        print(f"{out} is missing: run the benchmark first", file=sys.stderr)
        return 2
    cases = figures.read(out)
    drawn = plots.draw(cases, DOCS)
    page = DOCS / "benchmarks.md"
    text = tables.put_into(page.read_text(encoding="utf-8"), tables.for_docs(cases, drawn))
    page.write_text(text, encoding="utf-8")
    print(f"written into {page}")
    _say_drawn(drawn)
    return 0


def _say_drawn(drawn: Sequence[Path]) -> None:
    print(f"drawn: {', '.join(map(str, drawn))}" if drawn else "no pictures: matplotlib is not installed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes; do not quote the figures")
    parser.add_argument("--only", metavar="CASE,…", help="only these cases")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--rounds", type=int, help=f"rounds of each side (default: {ROUNDS}; quick: {QUICK_ROUNDS})")
    parser.add_argument("--out", type=Path, help=f"where the figures go (default: {FULL_FILE}; quick: {QUICK_FILE})")
    parser.add_argument("--write-docs", action="store_true", help="only put the figures of that file into docs/")
    sizes = parser.add_argument_group("sizes")
    for one in fields(Sizes):
        default = f"{getattr(Sizes(), one.name):,}; quick: {getattr(QUICK, one.name):,}"
        sizes.add_argument(f"--{one.name}", type=int, metavar="N", help=f"{MEANINGS[one.name]} (default: {default})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
