"""The network between workers, producer and server fails; all connections use our proxy."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterable

from chaos.faults.model import Fault
from chaos.faults.trial import STOP_SECONDS, Trial
from chaos.proxy import Proxy


class _Network(Fault):
    own_server = True

    def __init__(self) -> None:
        self._proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        """What is in the way."""
        assert self._proxy is not None
        return self._proxy

    def set_up(self, trial: Trial) -> None:
        self._proxy = Proxy(trial.dsn)
        trial.worker_dsn = trial.producer_dsn = self._proxy.dsn

    def tear_down(self, trial: Trial) -> None:
        if self._proxy is not None:
            self._proxy.close()


class Silence(_Network):
    name = "network-silence"
    does = (
        "The network stops delivering data without closing connections: open connections never receive a response, "
        "and new ones are accepted but get none; meanwhile a worker gets SIGTERM and must exit in time."
    )
    injects = "connections"

    def __init__(self) -> None:
        super().__init__()
        self._wrong: list[str] = []

    def set_up(self, trial: Trial) -> None:
        super().set_up(trial)
        if trial.size.short:
            trial.worker_dsn += "&connect_timeout=2"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        self.proxy.tell("silent")
        trial.pause(trial.size.lease + 1.0)
        if not trial.size.short:
            self._stop_one(trial, chance.randrange(trial.crew.count))
        return self.proxy.tell("pass")

    def _stop_one(self, trial: Trial, place: int) -> None:
        worker = trial.crew.workers[place]
        worker.signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            code = worker.wait(timeout=trial.shape.shutdown_timeout + STOP_SECONDS)
        except AssertionError:
            self._wrong.append(f"{worker} did not end in time although it got SIGTERM while the network was silent")
            worker.kill()
        else:
            print(f"  ended {time.monotonic() - began:.1f} s after SIGTERM in the silence")
            if code:
                self._wrong.append(f"{worker} ended with {code} after SIGTERM while the network was silent")
        self.proxy.tell("pass")
        trial.crew.replace(place)

    def check(self, trial: Trial) -> Iterable[str]:
        return self._wrong


class Delay(_Network):
    name = "network-delay"
    in_tests = False
    does = "Every message is delayed by 50 milliseconds in each direction."
    injects = "delays"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        self.proxy.tell("delay 0.05")
        trial.pause(1.5 if trial.size.short else 15.0)
        self.proxy.tell("pass")
        return 1


class Cuts(_Network):
    name = "network-cuts"
    in_tests = False
    does = "Connections are cut in the middle of a statement or of its response."
    injects = "cuts"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        for _ in range(10 if trial.size.short else 120):
            self.proxy.tell(f"cut {chance.choice(('requests', 'answers'))} {chance.randint(1, 3)}")
            trial.pause(chance.uniform(0.05, 0.4))
        return self.proxy.tell("count")
