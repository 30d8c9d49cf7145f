"""What an idle worker costs the database: each duty in the rhythm that it has, by a clock of the test's own."""

from __future__ import annotations

import random
from types import ModuleType

import pytest

from pgsched.db.notifications import PROBE_SECONDS
from pgsched.worker import (
    claimer,
    claims,
    health_scan,
    housekeeping,
    idle_turns,
    limited_claims,
    retention,
    roll_up,
    set_aside,
    shared_claims,
    sleep,
    table_gauges,
)
from tests.support.clock import Clock
from tests.support.engine import Engine, engine
from tests.support.roll_ups import new_roll_up_now
from tests.support.statements import counted

HOUR = 3600.0
STEP = 1.0
MOST = 0.5
"""Statements a second."""
CLOCKED: tuple[ModuleType, ...] = (
    claimer,
    claims,
    shared_claims,
    limited_claims,
    table_gauges,
    set_aside,
    sleep,
    housekeeping,
    idle_turns,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in CLOCKED:
        monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    return clock


async def claim_for_an_hour(one: Engine, clock: Clock) -> None:
    """Let the claim loop turn as it does while nothing comes."""
    looking = one.worker.claimer

    async def wait(seconds: float | None) -> None:
        assert seconds is not None
        clock.now += seconds

    looking.wait = wait  # type: ignore[method-assign]
    ends = clock.now + HOUR
    while clock.now < ends:
        if not await looking.run_once(20, 20):
            await looking.rest()


async def do_chores_for_an_hour(one: Engine, clock: Clock) -> None:
    ends = clock.now + HOUR
    while clock.now < ends:
        await one.worker.housekeeping.run_once()
        clock.now += STEP


@pytest.mark.slow
async def test_an_idle_worker_sends_less_than_a_statement_in_two_seconds(dsn: str, clock: Clock) -> None:
    rates: dict[str, float] = {}
    async with engine(dsn, lease=30, poll_interval=5) as one:
        worker = one.worker
        worker.claimer.hear(True)
        worker.broadcaster.hear(True)
        with counted() as sent:
            worker.heartbeat.run_once()
            sent.since()
            worker.heartbeat.run_once()
            rates["heartbeat"] = sent.since() / 10

            await claim_for_an_hour(one, clock)
            rates["claim"] = sent.since() / HOUR

            await do_chores_for_an_hour(one, clock)
            rates["upkeep"] = sent.since() / HOUR

            await worker.health_scan.run_once(every=0)
            complete = sent.since()
            await worker.health_scan.run_once(every=0)
            pressing = sent.since()
            assert 0 < pressing < complete
            rates["watchdog"] = (
                pressing / health_scan.EVERY_SECONDS + (complete - pressing) / health_scan.COMPLETE_SECONDS
            )

            worker.roll_up = new_roll_up_now(dsn)
            await worker.roll_up.run_once()
            rates["roll-up"] = sent.since() / roll_up.IDLE_SECONDS

            worker.retention.run_once()
            worker.retention.disconnect()
            rates["retention"] = sent.since() / retention.EVERY_SECONDS
    rates["listener"] = 1 / PROBE_SECONDS
    assert all(rates.values()), rates
    assert sum(rates.values()) < MOST, rates


def test_a_turn_comes_seldom_while_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, claimed = Clock(), [0.0]
    clock.now = 1_000.0
    monkeypatch.setattr(idle_turns, "monotonic", clock)
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    turn = idle_turns.Turn(60, 300, lambda: claimed[0])

    def minutes_until_next() -> int:
        for minute in range(1, 100):
            clock.now += 60
            if turn.take():
                return minute
        raise AssertionError("it never came")

    assert turn.take()
    assert minutes_until_next() == 5
    claimed[0] += 1
    assert minutes_until_next() == 1
    assert minutes_until_next() == 5
