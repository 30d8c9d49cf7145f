"""``python -m chaos.shapes``: odd shapes of work beside ordinary tasks, and what each costs."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.figures import this_machine
from chaos.faults.table import put_into
from chaos.shapes import SHAPES, table
from chaos.shapes.model import OddShape, Row
from chaos.shapes.stage import run_shape
from pgsched.db.embedded.server import EmbeddedServer
from tests.support.servers import fast_folder, fresh_database, run_of_tests

PAGE = Path("docs/shapes.md")
SETTINGS = {
    "fsync": "off",  # the costs are those of rows, locks and plans
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "2500",
    "autovacuum_naptime": "10s",
}


def main() -> int:
    """Return 1 if a rule does not hold."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no process is left behind
    if options.list:
        for name, shape in SHAPES.items():
            print(f"{name:24} {shape.size:8,} {shape.things}: {shape.does}")
        return 0
    if options.write_docs:
        return _write_docs(options.json)
    names = list(SHAPES) if options.only is None else [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(SHAPES)):
        print(f"unknown: {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    known = table.read(options.json).rows if options.only is not None and options.json.exists() else []
    rows: list[Row] = []
    with (
        run_of_tests(),
        tempfile.TemporaryDirectory(prefix="pgsched-shapes-", dir=fast_folder(), ignore_cleanup_errors=True) as folder,
        EmbeddedServer.start(Path(folder), options=SETTINGS) as server,
    ):
        with psycopg.connect(server.dsn) as connection:
            machine = this_machine(connection.info.parameter_status("server_version") or "")
        for name in names:
            rows.append(_row(SHAPES[name](), options.part, server.dsn, options.quiet))
            print(table.line(rows[-1]), flush=True)
            merged = table.merge(known, rows, order=list(SHAPES))
            measured = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            table.write(options.json, table.Run(measured=measured, machine=machine, rows=merged))
    wrong = [row.shape for row in rows if row.broken]
    print(f"written to {options.json}" + (f"; failed: {', '.join(wrong)}" if wrong else ""))
    return int(bool(wrong))


def _row(shape: OddShape, part: float, server_dsn: str, quiet: float) -> Row:
    """A shape that breaks off has a row too, and the others still take place."""
    size = max(shape.least, int(shape.size * part))
    try:
        with fresh_database(server_dsn, f"shape_{shape.name}".replace("-", "_")) as dsn:
            return run_shape(shape, size, dsn=dsn, quiet_seconds=quiet)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told and makes the run fail
        traceback.print_exc()
        return Row(shape=shape.name, size=size, broken=[f"it broke off: {type(error).__name__}: {error}"])


def _write_docs(path: Path) -> int:
    if not path.exists():
        print(f"{path} is missing: run `python -m chaos.shapes` first", file=sys.stderr)
        return 2
    page = put_into(PAGE.read_text(encoding="utf-8"), "shapes", table.for_docs(table.read(path), SHAPES))
    PAGE.write_text(put_into(page, "meanings", table.meanings(SHAPES)), encoding="utf-8")
    print(f"written into {PAGE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.shapes", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", help="only these shapes; the rows of others stay in the file")
    parser.add_argument("--part", type=float, default=1.0, metavar="N", help="of each size, such as 0.01 (default: 1)")
    parser.add_argument("--quiet", type=float, default=5.0, metavar="S", help="seconds before and after (default: 5)")
    parser.add_argument("--list", action="store_true", help="list the shapes")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("shapes.json"),
        metavar="FILE",
        help="where the rows go (default: %(default)s)",
    )
    parser.add_argument("--write-docs", action="store_true", help=f"only put the rows of that file into {PAGE}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
