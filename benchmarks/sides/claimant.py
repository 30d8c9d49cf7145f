"""Who claims where a side claims without a worker."""

from __future__ import annotations

from uuid import uuid4

from pgsched.db.worker.claims import Probe
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import PRIORITIES

PROBES = [Probe(queue="default", priority=priority) for priority in PRIORITIES]
"""Every priority of the one queue, from its front."""


def claimant(rows: int) -> Identity:
    """A worker that never registers, for claims of a given number of rows."""
    return Identity(
        id=uuid4(),
        hostname="bench",
        pid=1,
        queues=("default",),
        task_types=("noop",),
        declared_keys=(),
        concurrency=rows,
        lease=30.0,
    )
