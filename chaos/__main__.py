"""``python -m chaos``: inject every known fault into pgsched, and check the invariants."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.figures import this_machine
from chaos.faults import FAULTS, table
from chaos.faults.durable import RUNS, Durable
from chaos.faults.model import LONG, SHORT, Row, Size
from chaos.faults.stage import run_trial
from chaos.peers import run as peers
from chaos.peers.faults import FAULTS as PEERS_FAULTS
from chaos.poison.kinds import FAMILIES, described
from tests.support import servers

PAGE = Path("docs/chaos.md")


def main() -> int:
    """Return 1 if something was lost, duplicated or broken, or did not recover; 2 on wrong usage."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no process is left behind
    if options.list:
        for name, fault in FAULTS.items():
            print(f"{name:24} {fault.does}")
        return 0
    if options.kinds:
        for family, kinds in FAMILIES.items():
            print("\n".join([f"{family}:", *(f"  {kind.name:34} {kind.does}" for kind in kinds)]))
        return 0
    if options.peers:
        return _peers(options)
    if options.write_docs:
        return _write_docs(options.json)
    names = list(FAULTS) if options.only is None else [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names) - set(FAULTS)):
        print(f"unknown: {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    size = SHORT if options.short else LONG
    # First, so that a run that never ends can be repeated too.
    print(f"seed {seed}", flush=True)
    print(table.head(), flush=True)
    rows: list[Row] = []
    known = table.read(options.json).rows if options.only is not None and options.json.exists() else []
    with servers.run_of_tests(), servers.default_server() as dsn:
        with psycopg.connect(dsn) as connection:
            machine = this_machine(connection.info.parameter_status("server_version") or "")
        for name in names:
            row = _row(name, size, seed, dsn, options.runs)
            rows.append(row)
            print(table.line(row), flush=True)
            run = table.Run(
                measured=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                machine=machine,
                rows=table.merge(known, rows, order=list(FAULTS)),
            )
            table.write(options.json, run)
    wrong = [row for row in rows if row.problems]
    print("\n".join(["", table.head(), *(table.line(row, problems=False) for row in rows)]))
    print(f"\nseed {seed}; written to {options.json}")
    if wrong:
        again = f"python -m chaos --seed {seed} --only {','.join(row.fault for row in wrong)}"
        runs = "" if options.runs is None else f" --runs {options.runs}"
        print(f"failed: {', '.join(row.fault for row in wrong)}; to repeat: {again}{' --short' * size.short}{runs}")
    return int(bool(wrong))


def _row(name: str, size: Size, seed: int, dsn: str, runs: int | None) -> Row:
    """A trial that breaks off has a row too, and the others still take place."""
    fault = Durable(runs=runs) if name == Durable.name else FAULTS[name]()
    try:
        return run_trial(fault, size, seed=seed, server_dsn=dsn)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told and makes the run fail
        traceback.print_exc()
        broken = f"the trial broke off: {type(error).__name__}: {error}"
        return Row(system="pgsched", fault=name, seed=seed, short=size.short, broken=[broken])


def _peers(options: argparse.Namespace) -> int:
    """The faults that also apply to other queues; stored in a separate file."""
    path = options.json.with_stem(f"{options.json.stem}-peers")
    if options.write_docs:
        if not path.exists():
            print(f"{path} is missing: run `python -m chaos --peers` first", file=sys.stderr)
            return 2
        text = peers.for_docs(peers.read(path))
        PAGE.write_text(table.put_into(PAGE.read_text(encoding="utf-8"), peers.MARK, text), encoding="utf-8")
        print(f"written into {PAGE}")
        return 0
    names = options.only and [name.strip() for name in options.only.split(",")]
    if unknown := sorted(set(names or ()) - set(PEERS_FAULTS)):
        print(f"not a fault for peers: {', '.join(unknown)}; there are {', '.join(PEERS_FAULTS)}", file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    return peers.run(seed=seed, path=path, names=names)


def _write_docs(path: Path) -> int:
    """Put the table of the file into docs/chaos.md."""
    if not path.exists():
        print(f"{path} is missing: run the trials first", file=sys.stderr)
        return 2
    page = table.put_into(PAGE.read_text(encoding="utf-8"), "trials", table.for_docs(table.read(path), FAULTS))
    page = table.put_into(page, "faults", table.meanings(FAULTS))
    PAGE.write_text(table.put_into(page, "poison", described()), encoding="utf-8")
    print(f"written into {PAGE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the choices of the run that printed this seed")
    parser.add_argument("--only", metavar="NAME,…", help="only these faults; the rows of others stay in the file")
    parser.add_argument("--short", action="store_true", help="a few seconds a fault, as `make test` runs them")
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help=f"number of runs in the trial `durable`, with faults in proportion ({RUNS:,})",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="run some faults for PgQueuer and Procrastinate as well, in a separate table",
    )
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--kinds", action="store_true", help="list the kinds of poison")
    parser.add_argument(
        "--json", type=Path, default=Path("chaos.json"), metavar="FILE", help="where the rows go (default: %(default)s)"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"only put the rows of that file into {PAGE}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
