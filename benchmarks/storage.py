"""``python -m benchmarks.storage``: what fillfactor and autovacuum do to the table of tasks."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.databases import SETTINGS, Databases
from benchmarks.model import Sizes
from pgsched.db.embedded.server import EmbeddedServer

_TABLE = "alter table pgsched.tasks {}"
_VACUUM = (
    "set (autovacuum_vacuum_scale_factor = {}, autovacuum_vacuum_threshold = {}, autovacuum_vacuum_cost_delay = {})"
)
_SERVER = "reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay)"
VARIANTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "the server's autovacuum": (_SERVER,),
    "1 %": (_VACUUM.format(0.01, 1000, 2),),
    "1 %, without pauses": (_VACUUM.format(0.01, 1000, 0),),
    "0 %, every 20,000 rows": (_VACUUM.format(0, 20_000, 0),),
    "fillfactor 30": ("set (fillfactor = 30)",),
    "fillfactor 70": ("set (fillfactor = 70)",),
    "fillfactor 100": ("set (fillfactor = 100)",),
}
DEAD_ROWS = (0, 20_000, 100_000, 500_000)


def main() -> int:
    """Run all variants alternately and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--per-second", type=int, default=8_000)
    parser.add_argument("--finished", type=int, default=1_000_000, help="rows that are finished already")
    options = parser.parse_args()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name,
        EmbeddedServer.start(Path(name) / "server", options=SETTINGS) as server,
    ):
        log = Path(name) / "server" / "server.log"
        databases = Databases(server.dsn, log, Sizes(finished=options.finished))
        for dead in DEAD_ROWS:
            rounds = [_run("dead_rows", {"dsn": databases.fresh("empty"), "dead": dead}) for _ in range(options.rounds)]
            first, later = (median(one[metric] for one in rounds) for metric in ("first_ms", "claim_ms"))
            print(f"beside {dead:,} dead rows: first claim {first:.1f} ms, the next {later:.1f} ms", flush=True)
        for turn in range(options.rounds):
            for variant, changes in VARIANTS.items():
                given = {
                    "dsn": databases.fresh("finished"),
                    "storage": [_TABLE.format(change) for change in changes],
                    "per_second": options.per_second,
                    "seconds": options.seconds,
                }
                measured[variant].append(_run("steady", given))
                print(f"{turn + 1}/{options.rounds} {variant}: {measured[variant][-1]}", file=sys.stderr, flush=True)
    for variant, rounds in measured.items():
        middles = {metric: median(one[metric] for one in rounds) for metric in rounds[0]}
        print(f"{variant:26}" + "".join(f"{metric} {value:10.1f}   " for metric, value in middles.items()))
    return 0


def _run(side: str, given: dict[str, object]) -> dict[str, float]:
    command = [sys.executable, "-m", f"benchmarks.sides.{side}", json.dumps(given)]
    figures: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return figures


if __name__ == "__main__":
    sys.exit(main())
