"""The faults of the trials, by name, in the order of the table."""

from __future__ import annotations

from tests.chaos.faults.clock import WrongClock
from tests.chaos.faults.failover import Failover
from tests.chaos.faults.handlers import HandlerExits, HandlerMisbehaves
from tests.chaos.faults.kills import Sigkill
from tests.chaos.faults.model import Fault
from tests.chaos.faults.network import Cuts, Delay, Silence
from tests.chaos.faults.poison import Poison
from tests.chaos.faults.pooler import Pooler
from tests.chaos.faults.refusals import Defaults, Refusals
from tests.chaos.faults.server import ServerRestarts, ServerStops, SlotsTaken, Terminations
from tests.chaos.faults.soak import Soak
from tests.chaos.faults.stops import Sigstop
from tests.chaos.faults.versions import Migration

_ALL: tuple[type[Fault], ...] = (
    # Processes.
    Sigkill,
    Sigstop,
    HandlerExits,
    HandlerMisbehaves,
    WrongClock,
    Soak,
    # Server and network.
    ServerStops,
    ServerRestarts,
    Terminations,
    SlotsTaken,
    Refusals,
    Defaults,
    Failover,
    Silence,
    Delay,
    Cuts,
    Pooler,
    Migration,
    # Everything that one row, one lock or one setting can do.
    Poison,
)
FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}
