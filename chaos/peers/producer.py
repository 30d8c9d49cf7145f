"""The producer of a trial with another queue: keeps tasks waiting, and writes down each acknowledged id.

Arguments: the queue, and how many tasks to keep waiting. An insert that fails may have been done or not: its tasks
count for nothing, and others are inserted on new connections. SIGTERM: end once what was begun is acknowledged.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from chaos.peers.contender import Contender, Inserter
from chaos.peers.contenders import CONTENDERS

BATCH = 100


class Producer:
    """Inserts until it is stopped."""

    def __init__(self, *, contender: Contender, dsn: str, waiting: int, acknowledged: TextIO) -> None:
        self._contender = contender
        self._dsn = dsn
        self._waiting = waiting
        self._acknowledged = acknowledged
        self._inserter: Inserter | None = None
        self.ending = False
        self.failures = 0

    def run(self) -> None:
        """Insert until :attr:`ending`."""
        while not self.ending:
            try:
                if self._inserter is None:
                    self._inserter = self._contender.inserter(self._dsn)
                self._work(self._inserter)
            except Exception as error:  # noqa: BLE001 - of psycopg, its pool or the peer: the next try is on new ones
                self.failures += 1
                print(f"again: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)
                if self._inserter is not None:
                    with suppress(Exception):
                        self._inserter.close()
                self._inserter = None
                time.sleep(0.1)

    def _work(self, inserter: Inserter) -> None:
        missing = self._waiting - inserter.waiting()
        if missing < self._waiting // 4:
            time.sleep(0.05)
            return
        for count in (min(missing, BATCH), 1):  # a separate commit, as in most programs
            ids = inserter.insert(count)
            self._acknowledged.write("".join(f"{one}\n" for one in ids))
            self._acknowledged.flush()


def main() -> None:
    """Run until SIGTERM."""
    with Path("acknowledged").open("a") as acknowledged:
        producer = Producer(
            contender=CONTENDERS[sys.argv[1]](),
            dsn=os.environ["PGSCHED_DSN"],
            waiting=int(sys.argv[2]),
            acknowledged=acknowledged,
        )
        signal.signal(signal.SIGTERM, lambda *_: setattr(producer, "ending", True))
        print("producing", flush=True)
        producer.run()
        print(f"produced, {producer.failures} tries were in vain", flush=True)


if __name__ == "__main__":
    main()
