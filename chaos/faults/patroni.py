"""Failovers of a Patroni cluster under load: everything that can happen to a leader."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.pgbouncer import PgBouncer, missing_pgbouncer
from chaos.faults.trial import Trial
from chaos.ha.bound import Surviving, Window
from chaos.ha.cluster import TTL, PatroniCluster
from chaos.ha.node import DATABASE, SUPERUSER, Node
from chaos.ha.programs import ADDRESS, missing_programs
from chaos.ha.recovery import Struck, describe
from chaos.pgpool import Pgpool, missing_pgpool

REPLICATION_DELAY = 0.1
"""Seconds by which the asynchronous trial delays each message between a leader and its replicas."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What happens to a leader."""

    strike: Callable[[PatroniCluster, Node], None]
    mend: Callable[[Node], None] = lambda _node: None
    stays: bool = False
    """The leader may lead on."""
    loses: bool = True
    """Asynchronous replication may lose commits."""


BLOWS: Mapping[str, Blow] = {
    "leader killed": Blow(strike=lambda _cluster, node: node.kill(), mend=Node.start),
    "PostgreSQL killed": Blow(strike=lambda _cluster, node: node.kill_postgres(), stays=True),
    "leader cut off": Blow(strike=lambda _cluster, node: node.cut_off(from_clients=True), mend=Node.connect_again),
    "cut off from etcd": Blow(strike=lambda _cluster, node: node.cut_off(from_clients=False), mend=Node.connect_again),
    "leader suspended": Blow(strike=lambda _cluster, node: node.suspend(), mend=Node.resume),
    "leader shut down": Blow(strike=lambda _cluster, node: node.shut_down(), mend=Node.start, loses=False),
    "switchover": Blow(strike=lambda cluster, node: cluster.switchover(node), loses=False),
    "restart": Blow(strike=lambda cluster, node: cluster.restart(node), stays=True, loses=False),
}


class _Patroni(Fault):
    """A cluster; a subclass says how it replicates and which way workers and producer take."""

    injects = "failovers"
    in_tests = False
    synchronous = True
    rounds = 3
    """How often each blow is struck in the long form."""

    def __init__(self) -> None:
        self.cluster: PatroniCluster | None = None
        self._system: Surviving | None = None
        self._struck: list[Struck] = []
        self._told: list[str] = []
        self._leader: Node | None = None
        self._unasked: list[Window] = []
        """When the leader changed without a blow, as on a machine that is too busy to renew its key."""

    def missing(self) -> str | None:
        return missing_programs()

    def shape(self, size: Size) -> Shape:
        return Shape(concurrency=5, app="chaos.load.noted:app")

    def set_up(self, trial: Trial) -> None:
        self.cluster = PatroniCluster(synchronous=self.synchronous)
        self.cluster.start()
        trial.dsn = self.cluster.leader.dsn
        trial.system = self._system = Surviving(trial.folder, self.windows)
        trial.system.prepare(trial.dsn)
        self.lead(trial, self.cluster)

    def lead(self, trial: Trial, cluster: PatroniCluster) -> None:
        """Set the ways of workers and producer."""
        raise NotImplementedError

    def windows(self) -> Sequence[Window]:
        """When commits may be lost: never, or around each blow that loses some."""
        if self.synchronous:
            return []
        return [*self._unasked, *(one.window for one in self._struck if BLOWS[one.name].loses)]

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert self.cluster is not None
        before = trial.rate(time.time() - trial.size.before, time.time())
        names = list(BLOWS) * (1 if trial.size.short else self.rounds)
        chance.shuffle(names)
        for name in names:
            self._struck.append(one := self._strike(trial, name, chance))
            print(f"  {name}: a primary after {one.writable_at - one.at:.1f} s", flush=True)
        trial.fault_ended_at = self._struck[-1].whole_at
        with trial.books() as books:
            done = trial.system.completions(books, self._struck[0].at - 2.0)
        self._told += describe(self._struck, done, before * trial.size.recovered)
        return len(self._struck)

    def _strike(self, trial: Trial, name: str, chance: random.Random) -> Struck:
        assert self.cluster is not None
        cluster, blow = self.cluster, BLOWS[name]
        leader, lag = cluster.wait_until_whole(), cluster.lag_seconds()
        if self._leader is not None and leader is not self._leader:
            self._unasked.append(Window(self._struck[-1].whole_at - lag, time.time()))
        others = [node for node in cluster.nodes if node is not leader]
        at = time.time()
        blow.strike(cluster, leader)
        _, writable_at = cluster.wait_until_writable(cluster.nodes if blow.stays else others)
        goes_on = leader.suspended or leader.writable()  # until it notices that it leads no more
        trial.pause(chance.uniform(0.5, 3.0))
        blow.mend(leader)
        self._leader = cluster.wait_until_whole()
        trial.dsn = self._leader.dsn
        whole_at = time.time()
        trial.pause(1.5 if trial.size.short else chance.uniform(4.0, 6.0))
        return Struck(
            name=name,
            at=at,
            writable_at=writable_at,
            over_at=whole_at if goes_on else writable_at,
            whole_at=whole_at,
            until=time.time(),
            lag=lag,
        )

    def tell(self) -> Iterable[str]:
        yield from self._told
        if self._unasked:
            yield f"The leader changed {len(self._unasked)} times by itself."
        gone = self._system.gone if self._system else None
        if gone is None:
            return
        if gone.again:
            yield f"{gone.again} handlers ran to their end again: their outcome had not been acknowledged or was lost."
        yield (
            f"Gone: {len(gone.inserts)} of {gone.inserted:,} acknowledged inserts and {len(gone.outcomes)} of "
            f"{gone.recorded:,} acknowledged outcomes."
        )
        if not self.synchronous:
            yield f"{gone.reused} of the ids of lost tasks are those of other tasks now."
            distances = gone.distances([one.at for one in self._struck])
            if distances:
                yield f"They were acknowledged between {distances[0]:+.2f} s and {distances[-1]:+.2f} s of a fault."

    def check(self, trial: Trial) -> Iterable[str]:
        for name in sorted({one.name for one in self._struck}):
            primaries = [one.writable_at - one.at for one in self._struck if one.name == name]
            if not BLOWS[name].stays and max(primaries) > 4 * TTL:
                yield f"{name}: no other primary within {4 * TTL} s"
        if self.cluster is not None and not any(node.postmaster for node in self.cluster.nodes):
            yield "no node runs at the end"

    def tear_down(self, trial: Trial) -> None:
        if self.cluster is not None:
            self.cluster.close()


class PatroniSync(_Patroni):
    name = "patroni-sync"
    does = (
        "A Patroni cluster of three nodes with `synchronous_mode_strict`; its leader is killed, loses PostgreSQL, is "
        "cut off, cut off from etcd alone, suspended, shut down, switched over and restarted, three times each, in "
        "random order. The workers' DSN names all nodes; the producer uses HAProxy."
    )

    def lead(self, trial: Trial, cluster: PatroniCluster) -> None:
        trial.worker_dsn, trial.producer_dsn = cluster.hosts_dsn, cluster.haproxy_dsn


class PatroniAsync(_Patroni):
    name = "patroni-async"
    does = (
        "As `patroni-sync`, with asynchronous replication that is delayed by 100 ms, and with workers behind HAProxy. "
        "Acknowledged commits may be gone, but only those within the lag before a failover, or of a leader that was "
        "cut off; the surviving timeline must satisfy all invariants."
    )
    synchronous = False

    def lead(self, trial: Trial, cluster: PatroniCluster) -> None:
        trial.worker_dsn, trial.producer_dsn = cluster.haproxy_dsn, cluster.hosts_dsn
        for node in cluster.nodes:
            node.replicate(f"delay {REPLICATION_DELAY}")


class PatroniPgbouncer(_Patroni):
    name = "patroni-pgbouncer"
    does = (
        "As `patroni-sync`, once each; workers and producer use PgBouncer in transaction mode before HAProxy, and the "
        "workers listen through HAProxy."
    )
    rounds = 1

    def __init__(self) -> None:
        super().__init__()
        self._pooler: PgBouncer | None = None

    def missing(self) -> str | None:
        return missing_programs() or missing_pgbouncer()

    def lead(self, trial: Trial, cluster: PatroniCluster) -> None:
        self._pooler = PgBouncer(cluster.haproxy_dsn, size=30)
        trial.worker_dsn = trial.producer_dsn = self._pooler.dsn
        trial.environment["PGSCHED_LISTEN_DSN"] = cluster.haproxy_dsn

    def tear_down(self, trial: Trial) -> None:
        if self._pooler is not None:
            self._pooler.close()
        super().tear_down(trial)


class PatroniPgpool(_Patroni):
    name = "patroni-pgpool"
    does = "As `patroni-pgbouncer`, with pgpool2 before HAProxy, through which the workers also listen."
    rounds = 1

    def __init__(self) -> None:
        super().__init__()
        self._pooler: Pgpool | None = None

    def missing(self) -> str | None:
        return missing_programs() or missing_pgpool()

    def lead(self, trial: Trial, cluster: PatroniCluster) -> None:
        server = {"host": ADDRESS, "port": str(cluster.haproxy_port), "user": SUPERUSER, "dbname": DATABASE}
        self._pooler = Pgpool(
            make_conninfo(**server), children=80, settings={"connection_cache": "off", "child_life_time": "0"}
        )
        trial.worker_dsn = trial.producer_dsn = self._pooler.dsn

    def tear_down(self, trial: Trial) -> None:
        if self._pooler is not None:
            self._pooler.close()
        super().tear_down(trial)
