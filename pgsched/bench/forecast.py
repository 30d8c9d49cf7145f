"""What the same tasks would do on another machine: a small model of a worker and its server. Pure functions.

The rate is the lowest of a few limits, each of which follows from what one measurement measured:

- **processors**: every task takes processor time of the server and of a worker process, more of both beside other
  worker processes, because claims skip the rows that others have locked, and bring fewer;
- **worker processes**: each of them uses one processor at most;
- **slots**: processes × concurrency handlers run at once;
- **round trips**: a process has a number of batches on their way, and each batch takes some round trips and a commit.

Times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pgsched.worker.locked_batches import SESSIONS
from pgsched.worker.prefetch import HORIZON
from pgsched.worker.usual_seconds import LOCKABLE_SECONDS

MAX_BATCH = 1000
"""Rows of one claim."""
LOCKED_TRIPS = 3
"""Round trips of a batch that is claimed, finished and committed in one transaction."""
OTHERS_IN_SERVER, OTHERS_IN_WORKER = 0.2, 0.12
"""How much more of its processor time a task takes for each other process that locks rows there; measured."""

PROCESSORS = "the processors of server and workers"
SERVER = "the server's processors"
WORKERS = "the worker processes"
SLOTS = "the slots (processes × concurrency)"
TRIPS = "round trips and commits"
CONNECTIONS = "the connections that insert"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured of one task."""

    worker: float
    """Processor time of a worker process."""
    server: float
    """Processor time of the server, its insert not included."""
    insert: float
    """Duration of an insert on one connection, without its round trip and the wait for the disk."""
    insert_processor: float
    """Processor time of an insert, server and client together."""
    pickup: float
    """From a commit to the handler in an idle worker, without the round trip of the claim; its median."""
    processes: int = 1
    """Worker processes of the measurement."""
    efficiency: float = 1.0
    """How much of the processors' limit was reached, where they were the limit."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A server and its workers."""

    cores: float
    """Processors of the server."""
    worker_cores: float | None = None
    """Processors of the workers' machines; None: they share the server's."""
    processes: int = 1
    concurrency: int = 100
    round_trip: float = 0.0
    sync: float = 0.0
    """How long a commit waits for the disk."""
    handler: float = 0.0
    """How long a handler waits, without using a processor."""
    connections: int = 1
    """Connections that insert single tasks."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The prediction for one site."""

    rate: float
    """Tasks a second while enough of them are due."""
    limit: str
    """What limits it."""
    inserts: float
    """Single inserts a second."""
    insert_limit: str
    pickup: float
    """From the commit, as its client sees it, to the handler in an idle worker; the median."""


def forecast(costs: Costs, site: Site) -> Forecast:
    """Predict what a site does."""
    found = limits(costs, site)
    limit = min(found, key=lambda name: found[name])
    leased = site.handler >= LOCKABLE_SECONDS
    # A commit that finds a flush of the WAL in progress waits for its rest, and then for the next one.
    sync = site.sync * (1.5 - 0.5 / site.connections)
    inserts = {
        CONNECTIONS: site.connections / (costs.insert + site.round_trip + sync),
        PROCESSORS if site.worker_cores is None else SERVER: site.cores / costs.insert_processor,
    }
    return Forecast(
        rate=found[limit],
        limit=limit,
        inserts=min(inserts.values()),
        insert_limit=min(inserts, key=lambda name: inserts[name]),
        pickup=costs.pickup + site.round_trip + (site.sync if leased else 0.0),
    )


def limits(costs: Costs, site: Site) -> dict[str, float]:
    """Return every limit of the rate, in tasks a second."""
    costs = _beside(costs, site)
    both = costs.worker + costs.server
    found = {}
    if site.worker_cores is None:
        found[PROCESSORS] = costs.efficiency * site.cores / both
        workers = min(site.processes, site.cores)
    else:
        found[SERVER] = costs.efficiency * site.cores / costs.server
        workers = min(site.processes, site.worker_cores)
    found[WORKERS] = costs.efficiency * workers / costs.worker
    if site.handler:
        found[SLOTS] = site.processes * site.concurrency / (site.handler + costs.worker)
    found[TRIPS] = site.processes * _batches(costs, site, min(found.values()) / site.processes)
    return found


def _beside(costs: Costs, site: Site) -> Costs:
    """Return the costs among as many processes as the site has."""
    if site.handler >= LOCKABLE_SECONDS:  # a lease keeps rows out of the claims of others
        return costs
    others, measured = site.processes - 1, costs.processes - 1
    return replace(
        costs,
        worker=costs.worker * (1 + OTHERS_IN_WORKER * others) / (1 + OTHERS_IN_WORKER * measured),
        server=costs.server * (1 + OTHERS_IN_SERVER * others) / (1 + OTHERS_IN_SERVER * measured),
    )


def _batches(costs: Costs, site: Site, highest: float) -> float:
    """Return the rate of one process that its batches allow. They grow with the rate, which is ``highest`` at most."""
    batch = float(MAX_BATCH)
    rate = highest
    for _ in range(50):
        rate = min(highest, _rate_of(costs, site, batch))
        batch = min(MAX_BATCH, max(1.0, site.concurrency + HORIZON * rate))
    return _rate_of(costs, site, batch)


def _rate_of(costs: Costs, site: Site, batch: float) -> float:
    claim, finish = batch * costs.server / 2, batch * costs.server / 2
    if site.handler >= LOCKABLE_SECONDS:  # leased: each claim is a commit, and so is each finish
        return batch / (site.round_trip + site.sync + claim)
    one_after_another = batch / (site.round_trip + claim)
    at_once = SESSIONS * batch / (LOCKED_TRIPS * site.round_trip + site.sync + claim + batch * costs.worker + finish)
    return min(one_after_another, at_once)


def efficiency_of(costs: Costs, site: Site, measured: float) -> float:
    """Return how much of the processors' limit a measured rate is; 1 where another limit was lower."""
    found = limits(costs, site)
    processors = min(rate for name, rate in found.items() if name in (PROCESSORS, SERVER, WORKERS))
    if processors > min(found.values()):
        return 1.0
    return min(1.0, measured / processors)
