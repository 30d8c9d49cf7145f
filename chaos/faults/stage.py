"""The environment of a trial: a fresh database or a separate server, and a directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chaos.faults.model import Fault, Row, Size
from chaos.faults.own_server import OwnServer
from chaos.faults.system import Pgsched, System
from chaos.faults.trial import Trial
from tests.support.servers import fast_folder, fresh_database


def run_trial(fault: Fault, size: Size, *, seed: int, server_dsn: str, system: System | None = None) -> Row:
    """Run a trial on a fresh database of that server, or on a server of the fault's own if it wants one."""
    system = system or Pgsched()
    if (cause := fault.missing()) is not None:
        return Row(system=system.name, fault=fault.name, seed=seed, short=size.short, left_out=cause)
    with (
        tempfile.TemporaryDirectory(prefix="pgsched-trial-", dir=fast_folder(), ignore_cleanup_errors=True) as folder,
        _place(fault, server_dsn, system.name) as (dsn, server),
    ):
        system.prepare(dsn)
        trial = Trial(fault=fault, size=size, seed=seed, dsn=dsn, folder=Path(folder), server=server, system=system)
        return trial.run()


@contextlib.contextmanager
def _place(fault: Fault, server_dsn: str, system: str) -> Iterator[tuple[str, OwnServer | None]]:
    if fault.own_server:
        with OwnServer(fault.server_settings) as server:
            yield server.dsn, server
    else:
        with fresh_database(server_dsn, f"trial_{system}_{fault.name}".replace("-", "_")) as dsn:
            yield dsn, None
