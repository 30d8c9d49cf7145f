"""``python -m benchmarks.points``: what each of the ten points of the hot path is worth.

Each runs with the point and without it, in turns, several rounds; the table shows medians.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.databases import SETTINGS, Databases
from benchmarks.figures import this_machine
from benchmarks.points import table
from benchmarks.points.comparisons import all_comparisons
from benchmarks.points.copies import Copies
from benchmarks.points.model import SMALL, Comparison, PointSizes
from benchmarks.points.run import Runner
from benchmarks.progress import Progress
from pgsched.db.embedded.server import EmbeddedServer
from tests.support.servers import binaries_of, is_installed

ROUNDS, QUICK_ROUNDS = 5, 2
FILE = Path("bench-points.json")


def main() -> int:
    """Returns 1 when a round failed."""
    options = _parser().parse_args()
    sizes = SMALL if options.quick else PointSizes()
    comparisons = all_comparisons(sizes)
    if options.only:
        wanted = {name.strip() for name in options.only.split(",")}
        unknown = wanted - {name for one in comparisons for name in _names(one)}
        if unknown:
            print(f"unknown: {', '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        comparisons = tuple(one for one in comparisons if _names(one) & wanted)
    for one in comparisons:
        if not is_installed(one.server):
            print(f"left out: {one.label}, {one.title}: the server {one.server} is not installed", file=sys.stderr)
    comparisons = tuple(one for one in comparisons if is_installed(one.server))
    return _measure(comparisons, sizes, options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS), options)


def _measure(comparisons: Sequence[Comparison], sizes: PointSizes, rounds: int, options: argparse.Namespace) -> int:
    progress = Progress(sum(rounds * len(one.forms) for one in comparisons))
    rows: list[table.Row] = []
    head: dict[str, object] = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": rounds,
        "quick": options.quick,
        "sizes": vars(sizes),
    }
    with _folder() as folder:
        copies = Copies(folder)
        for form in (form for one in comparisons for form in one.forms):
            copies.with_changes(form.changes)  # detects a missing text before anything is measured
        for comparison in comparisons:
            with _server(comparison.server) as (server, log, machine):
                databases = Databases(server.dsn, log, sizes)
                outcome = Runner(databases=databases, copies=copies, progress=progress).run(comparison, rounds)
            rows += table.rows_of(outcome, machine)
            table.write(options.out, head, rows)  # what is measured is kept, whatever happens to the rest
    progress.close()
    print(table.for_terminal(rows))
    print(f"\nmedians of {rounds} rounds; written to {options.out}")
    if options.quick:
        print("Small sizes: these figures only show that everything runs; do not quote them.")
    return int(any(row.failed for row in rows))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _server(major: str) -> Iterator[tuple[EmbeddedServer, Path, dict[str, str]]]:
    """A new server, its log, and what the figures depend on. No comparison inherits anything from another."""
    with (
        _folder() as folder,
        EmbeddedServer.start(folder / "server", options=SETTINGS, binaries=binaries_of(major)) as server,
    ):
        with psycopg.connect(server.dsn) as connection:
            machine = this_machine(connection.info.parameter_status("server_version") or "")
        yield server, folder / "server" / "server.log", machine


def _names(comparison: Comparison) -> set[str]:
    """Its names: its label and the number of its point."""
    number = re.match(r"\d+", comparison.label)
    return {comparison.label, number[0] if number else comparison.label}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.points", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes; do not quote the figures")
    parser.add_argument("--only", metavar="POINT,…", help="only these points, by number")
    parser.add_argument("--rounds", type=int, help=f"rounds of each form (default: {ROUNDS}; quick: {QUICK_ROUNDS})")
    parser.add_argument("--out", type=Path, default=FILE, help=f"where the figures go (default: {FILE})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
