"""What the runner of the public benchmark's scenarios reckons from samples, and what its adapter prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.yardstick.cell import recovery_seconds, totals
from benchmarks.yardstick.pgsched_bench.main import Load, Percentiles, Settings
from benchmarks.yardstick.replicas import Sample
from benchmarks.yardstick.scenarios import SCENARIOS


def test_rates_of_processes_are_summed_by_second() -> None:
    samples = [
        Sample(10.6, 0, "completion_rate", 100.0, 1.0),
        Sample(10.7, 1, "completion_rate", 50.0, 1.0),
        Sample(11.6, 1, "completion_rate", 60.0, 1.0),
        Sample(11.6, 1, "enqueue_rate", 7.0, 1.0),
    ]
    assert totals(samples, "completion_rate") == {10: 150.0, 11: 60.0}


def test_recovery_is_the_first_second_with_nine_tenths_of_the_rate_before() -> None:
    rates = {9: 100.0, 10: 20.0, 11: 89.0, 12: 90.0, 13: 100.0}
    assert recovery_seconds(rates, (10.0, 20.0), 100.0) == 2.0
    assert recovery_seconds(rates, (10.0, 11.5), 100.0) is None
    assert recovery_seconds(rates, (10.0, 20.0), 0.0) is None


def test_every_scenario_has_a_baseline_before_the_stress_and_a_recovery_after_it() -> None:
    assert [len([one for one in SCENARIOS if one.chaos == chaos]) for chaos in (True, False)] == [5, 4]
    for one in SCENARIOS:
        kinds = [phase.kind for phase in one.phases]
        assert (kinds[0], kinds[1], kinds[-1]) == ("warmup", "clean", "clean")
        assert all(kinds[place] != "clean" for place in one.stress)


def test_percentiles_are_within_a_hundredth() -> None:
    pickups = Percentiles()
    for n in range(1, 1001):
        pickups.add(n / 10)
    assert pickups.read(0.5, 0.95, 0.99) == [pytest.approx(value, rel=0.011) for value in (50, 95, 99)]
    assert Percentiles().read(0.5) == [0.0]


class _Queue:
    name = "test"
    tables = ("tasks",)
    version = "1"

    def __init__(self) -> None:
        self.inserted = 0
        self.load: Load | None = None

    async def insert(self, payloads: Sequence[dict[str, Any]]) -> None:
        assert self.load is not None
        for one in payloads:
            await self.load.handle(one["created"])
        self.inserted += len(payloads)
        if self.inserted >= 100:
            self.load.stopping.set()

    async def depth(self) -> int:
        return 0


async def test_adapter_says_what_it_is_and_inserts_at_the_rate_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = tmp_path / "rate"
    rate.write_text("5000")
    for name, value in {
        "DATABASE_URL": "postgresql:///bench",
        "PRODUCER_RATE": "1",
        "PRODUCER_RATE_CONTROL_FILE": str(rate),
        "JOB_WORK_MS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    queue = _Queue()
    queue.load = Load(Settings())
    await queue.load.run(queue)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["kind"], first["system"], first["db_name"], first["instance_id"]) == (
        "descriptor",
        "test",
        "bench",
        0,
    )
    assert queue.inserted >= 100
