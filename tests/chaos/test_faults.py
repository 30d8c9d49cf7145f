"""The short form of every fault: nothing is lost, nothing runs twice, and the throughput comes back."""

from __future__ import annotations

import random

import pytest

from chaos.faults import FAULTS
from chaos.faults.model import SHORT
from chaos.faults.stage import run_trial


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.in_tests])
def test_nothing_is_lost_or_duplicated_under(name: str, server_dsn: str) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    row = run_trial(FAULTS[name](), SHORT, seed=seed, server_dsn=server_dsn)
    if row.left_out is not None:
        pytest.skip(row.left_out)
    again = f"python -m chaos --short --seed {seed} --only {name}"
    assert row.problems == [], "\n".join([f"to repeat: {again}", *row.problems])
