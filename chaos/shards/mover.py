"""``python -m chaos.shards.mover TENANT TARGET STEP OCCURRENCE SIGNAL``: a mover that strikes itself at a step.

``PGSCHED_DSN`` has the shards. SIGNAL is that which it sends to itself before it takes the step for the OCCURRENCE-th
time: SIGKILL, or SIGSTOP for a mover that is suspended and wakes up when others have finished its move.
"""

from __future__ import annotations

import os
import signal
import sys

from pgsched.db.database import Database
from pgsched.db.databases import read_databases
from pgsched.domain.errors import PgschedError
from pgsched.ops.shards import Move

BATCH = 20
"""Small, so that a move consists of several."""
STEPS = (
    "announce the arrival",
    "close the source",
    "wait for open transactions",
    "park a batch",
    "deliver a batch",
    "forget a batch",
    "reserve keys",
    "end the move in the source",
    "open the target",
)


def main() -> int:
    """Return 1 when the move was refused or could not be finished, as the command does."""
    tenant, target, step, occurrence, strike = sys.argv[1:]
    left = int(occurrence)

    def before(now: str) -> None:
        nonlocal left
        left -= now == step
        if now == step and not left:
            print(f"at {step!r}", flush=True)
            os.kill(os.getpid(), signal.Signals[strike])

    databases = {
        name: Database(dsn=dsn, pool_size=2) for name, dsn in read_databases(os.environ["PGSCHED_DSN"].split()).items()
    }
    try:
        Move(databases, tenant, target, batch=BATCH, before=before).run()
    except PgschedError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for one in databases.values():
            one.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
