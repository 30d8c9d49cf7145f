"""``python -m chaos.soak``: eight hours' work by count, as fast as the machine runs it, with everything on."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.figures import this_machine
from chaos.faults.table import put_into
from chaos.soak.hours import Hour, for_docs, verdict
from chaos.soak.run import soak
from pgsched.db.embedded.server import EmbeddedServer
from tests.support.servers import fast_folder, fresh_database, run_of_tests

PAGE = Path("docs/shapes.md")
TASKS, HOURS = 576_000, 8
"""20 tasks a second for eight hours."""
SETTINGS = {"fsync": "off", "shared_buffers": "512MB", "max_wal_size": "2GB", "autovacuum_naptime": "10s"}


def main() -> int:
    """Return 1 if something grew or was wrong."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no process is left behind
    if options.write_docs:
        return _write_docs(options.json)
    with (
        run_of_tests(),
        tempfile.TemporaryDirectory(prefix="pgsched-soak-", dir=fast_folder(), ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
        fresh_database(server.dsn, "soak") as dsn,
    ):
        with psycopg.connect(dsn) as connection:
            machine = this_machine(connection.info.parameter_status("server_version") or "")
        folder = Path(name) / "processes"
        folder.mkdir()
        hours, wrong = soak(dsn=dsn, folder=folder, tasks=options.tasks, hours=options.hours, tell=_show)
    wrong += verdict(hours)
    measured = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    kept = {"measured": measured, "machine": machine, "tasks": options.tasks, "hours": [asdict(hour) for hour in hours]}
    options.json.write_text(json.dumps(kept | {"wrong": wrong}, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"WRONG: {one}" for one in wrong) or "flat: nothing grew after the second hour")
    print(f"written to {options.json}")
    return int(bool(wrong))


def _show(hour: Hour) -> None:
    print(for_docs([hour]).splitlines()[-1], flush=True)


def _write_docs(path: Path) -> int:
    if not path.exists():
        print(f"{path} is missing: run `python -m chaos.soak` first", file=sys.stderr)
        return 2
    kept = json.loads(path.read_text(encoding="utf-8"))
    hours = [Hour(**hour) for hour in kept["hours"]]
    machine = kept["machine"]
    seconds = sum(hour.seconds for hour in hours)
    said = "; ".join(kept["wrong"]) or "Nothing grew after the second hour"
    steady = kept["tasks"] / 3600 / len(hours)
    where = f"{machine['cpu']}, PostgreSQL {machine['postgresql']}, Python {machine['python']}"
    text = (
        f"{for_docs(hours)}\n\n{said}. {kept['tasks']:,} inserted tasks, which is {steady:.0f} a second for"
        f" {len(hours)} hours, in {seconds / 60:.0f} minutes. {kept['measured']}; {where}."
    )
    PAGE.write_text(put_into(PAGE.read_text(encoding="utf-8"), "soak", text), encoding="utf-8")
    print(f"written into {PAGE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS, metavar="N", help="inserted in all (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=HOURS, metavar="N", help="parts of it (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("soak.json"), metavar="FILE", help="where the hours go (default: %(default)s)"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"only put the hours of that file into {PAGE}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
