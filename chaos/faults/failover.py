"""The primary dies and its standby takes over."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from chaos.faults.model import Fault
from chaos.faults.own_server import IMMEDIATE
from chaos.faults.server import TERMINATE_ALL
from chaos.faults.standby import Standby
from chaos.faults.trial import Trial


class Failover(Fault):
    name = "failover"
    does = (
        "The primary crashes, its synchronous standby is promoted, and the old primary returns as read-only; the DSN "
        "names both hosts and has target_session_attrs=read-write."
    )
    injects = "crashes"
    own_server = True
    server_settings = {"wal_level": "replica", "max_wal_senders": "4"}  # noqa: RUF012

    def __init__(self) -> None:
        self._standby: Standby | None = None
        self._strangers = 0

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        self._standby = Standby(trial.server)
        self._standby.follow()
        trial.worker_dsn = trial.producer_dsn = self._standby.either_dsn

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        assert self._standby is not None
        trial.server.end(IMMEDIATE)
        trial.pause(0.2 if trial.size.short else chance.uniform(1.0, 4.0))
        self._standby.promote()
        trial.dsn = self._standby.dsn
        trial.pause(0.5 if trial.size.short else 3.0)
        trial.server.settings |= {"default_transaction_read_only": "on", "synchronous_standby_names": ""}
        trial.server.start()
        with trial.books() as books:
            books.execute(TERMINATE_ALL)  # whoever connects again meets the old primary first
        trial.fault_ended_at = time.time()
        return 1

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books:
            row = books.execute("select pg_is_in_recovery() as standby").fetchone()
        if row is None or row["standby"]:
            yield "the standby was not promoted"

    def tear_down(self, trial: Trial) -> None:
        if self._standby is not None:
            self._standby.close()
