"""The faults of the trials, by name, in the order of the table."""

from __future__ import annotations

from chaos.faults.clock import WrongClock
from chaos.faults.copies import CopyDump, CopyPhysical, CopyVolume
from chaos.faults.database_clock import ClockOfTheDatabase, DaylightSaving, ServerZoneChanged
from chaos.faults.durable import Durable
from chaos.faults.failover import Failover
from chaos.faults.handlers import HandlerExits, HandlerMisbehaves
from chaos.faults.kill_storm import KillStorm
from chaos.faults.kills import Sigkill
from chaos.faults.model import Fault
from chaos.faults.network import Cuts, Delay, Silence
from chaos.faults.poison import Poison
from chaos.faults.pooler import Pooler
from chaos.faults.refusals import Defaults, Refusals
from chaos.faults.replication import LogicalReplication
from chaos.faults.server import ServerRestarts, ServerStops, SlotsTaken, Terminations
from chaos.faults.soak import Soak
from chaos.faults.stops import Sigstop
from chaos.faults.typescript import TypescriptSigkill, TypescriptSigstop
from chaos.faults.versions import Migration

_ALL: tuple[type[Fault], ...] = (
    # Processes.
    Sigkill,
    TypescriptSigkill,
    KillStorm,
    Sigstop,
    TypescriptSigstop,
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
    CopyDump,
    CopyPhysical,
    CopyVolume,
    LogicalReplication,
    ClockOfTheDatabase,
    DaylightSaving,
    ServerZoneChanged,
    Silence,
    Delay,
    Cuts,
    Pooler,
    Migration,
    Durable,
    # Everything that one row, one lock or one setting can do.
    Poison,
)
FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}
