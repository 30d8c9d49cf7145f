"""The faults of the trials, by name, in the order of the table."""

from __future__ import annotations

from chaos.faults.clock import WrongClock
from chaos.faults.copies import CopyDump, CopyPhysical, CopyVolume
from chaos.faults.crash_migrate import CrashAmidMigrate
from chaos.faults.crashes import CrashAmidCopy, CrashAmidRetention
from chaos.faults.database_clock import ClockOfTheDatabase, DaylightSaving, ServerZoneChanged
from chaos.faults.disk import DiskFull
from chaos.faults.durable import Durable
from chaos.faults.failover import Failover
from chaos.faults.handlers import HandlerExits, HandlerMisbehaves
from chaos.faults.kill_storm import KillStorm
from chaos.faults.kills import Sigkill
from chaos.faults.locks import TableLocks
from chaos.faults.maintenance import Maintenance, Repack
from chaos.faults.model import Fault
from chaos.faults.network import Cuts, Delay, Silence
from chaos.faults.notify_queue import NotifyQueueFull
from chaos.faults.partitions import DumpUnderLoad, YearOfPartitions
from chaos.faults.patroni import PatroniAsync, PatroniPgbouncer, PatroniPgpool, PatroniSync
from chaos.faults.pgpool import PgpoolRestarts
from chaos.faults.poison import Poison
from chaos.faults.pooler import Pooler
from chaos.faults.poolers import PgBouncerKill, PgBouncerPause, PgBouncerReconnect, PgBouncerRestart
from chaos.faults.read_only_disk import DiskReadOnly
from chaos.faults.refusals import Defaults, Refusals
from chaos.faults.replication import LogicalReplication
from chaos.faults.scarcity import FewDescriptors, LittleMemory, Recursion, Starved, StuckThreads
from chaos.faults.server import ServerRestarts, ServerStops, SlotsTaken, Terminations
from chaos.faults.sessions import LeftSessions
from chaos.faults.shards import Shards
from chaos.faults.slow_import import SlowImport
from chaos.faults.soak import Soak
from chaos.faults.stops import Sigstop
from chaos.faults.suspension import Suspension
from chaos.faults.temporary_files import TemporaryFiles
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
    Recursion,
    StuckThreads,
    FewDescriptors,
    LittleMemory,
    Starved,
    SlowImport,
    WrongClock,
    Suspension,
    Soak,
    # Server and network.
    ServerStops,
    ServerRestarts,
    Terminations,
    SlotsTaken,
    Refusals,
    Defaults,
    DiskFull,
    DiskReadOnly,
    TemporaryFiles,
    CrashAmidCopy,
    CrashAmidMigrate,
    CrashAmidRetention,
    Failover,
    PatroniSync,
    PatroniAsync,
    PatroniPgbouncer,
    PatroniPgpool,
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
    PgBouncerPause,
    PgBouncerReconnect,
    PgBouncerKill,
    PgBouncerRestart,
    PgpoolRestarts,
    Shards,
    Migration,
    Durable,
    # Locks and maintenance.
    Maintenance,
    Repack,
    TableLocks,
    LeftSessions,
    DumpUnderLoad,
    NotifyQueueFull,
    YearOfPartitions,
    # Everything that one row, one lock or one setting can do.
    Poison,
)
FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}
