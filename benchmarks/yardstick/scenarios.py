"""The five chaos and four pressure scenarios, in the shape of that project's sweep of 2026-05-09."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "warmup",
    "clean",
    "kill-worker",
    "start-worker",
    "postgres-restart",
    "repeated-kill",
    "pg-backend-kill",
    "pool-exhaustion",
    "idle-in-tx",
    "high-load",
    "active-readers",
]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a scenario."""

    kind: Kind
    times: float = 1.0
    """How many times as long as most phases it takes."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Phases, and the load in all of them."""

    name: str
    chaos: bool
    does: str
    phases: tuple[Phase, ...]
    rate: int
    """Tasks a second that each process inserts."""
    replicas: int = 1
    workers: int = 32
    """Tasks that each process runs at once."""

    @property
    def stress(self) -> range:
        """The places of the phases between the baseline and the recovery."""
        return range(2, len(self.phases) - 1)


def _phases(*given: Kind | Phase) -> tuple[Phase, ...]:
    stress = (one if isinstance(one, Phase) else Phase(kind=one) for one in given)
    return (Phase(kind="warmup", times=0.5), Phase(kind="clean"), *stress, Phase(kind="clean"))


SCENARIOS = (
    Scenario(
        name="chaos_crash_recovery",
        chaos=True,
        does="SIGKILL for one of two processes, which is started again later",
        phases=_phases("kill-worker", "start-worker"),
        rate=300,
        replicas=2,
    ),
    Scenario(
        name="chaos_postgres_restart",
        chaos=True,
        does="PostgreSQL is stopped in order, and started again after half of the phase",
        phases=_phases("postgres-restart"),
        rate=600,
    ),
    Scenario(
        name="chaos_repeated_kills",
        chaos=True,
        does="three times: SIGKILL for the same one of two processes, which is started again after a second",
        phases=_phases(Phase(kind="repeated-kill", times=2.0)),
        rate=300,
        replicas=2,
    ),
    Scenario(
        name="chaos_pg_backend_kill",
        chaos=True,
        does="twice a second, `pg_terminate_backend` for all sessions that run a statement or a transaction",
        phases=_phases("pg-backend-kill"),
        rate=600,
    ),
    Scenario(
        name="chaos_pool_exhaustion",
        chaos=True,
        does="300 idle connections of others, of 400 that the server accepts",
        phases=_phases("pool-exhaustion"),
        rate=600,
    ),
    Scenario(
        name="idle_in_tx",
        chaos=False,
        does="one transaction with an id stays open",
        phases=_phases("idle-in-tx"),
        rate=800,
    ),
    Scenario(
        name="sustained_high_load",
        chaos=False,
        does="1.5 times the rate",
        phases=_phases("high-load"),
        rate=800,
    ),
    Scenario(
        name="active_readers",
        chaos=False,
        does="four repeatable-read transactions count the rows of the queue's main table again and again",
        phases=_phases("active-readers"),
        rate=800,
    ),
    Scenario(
        name="event_burst",
        chaos=False,
        does="1.5 times the rate, from a higher one",
        phases=_phases("high-load"),
        rate=1200,
        workers=64,
    ),
)
HIGH_LOAD = 1.5
KILLS_A_PHASE = 3
BACKEND_KILL_SECONDS = 0.5
IDLE_CONNECTIONS = 300
READERS = 4
