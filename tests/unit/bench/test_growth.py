"""How the growth benchmark chooses its points and judges the model."""

from __future__ import annotations

import pytest

from benchmarks.growth import DISKS, points
from benchmarks.growth_tables import error, producers
from benchmarks.producers import Inserts
from pgsched.bench.forecast import CONNECTIONS, PROCESSORS


def test_points_that_calibrate_come_first_and_are_not_judged_again() -> None:
    chosen = points(quick=False)
    assert [one.calibrates for one in chosen[:3]] == [True, True, False]
    sites = [(one.processes, one.concurrency, one.handler, one.round_trip, one.disk) for one in chosen]
    assert len(sites) == len(set(sites))
    assert {one.disk for one in chosen} == set(DISKS)
    assert {one.round_trip for one in chosen} == {0.0, 0.0002, 0.001, 0.005}
    assert {one.processes for one in chosen} == {1, 2, 4, 8, 16}
    assert {one.concurrency for one in chosen} == {1, 10, 100, 500}


def test_error_is_the_same_for_twice_as_much_and_half_as_much() -> None:
    assert error([2.0, 0.5]) == pytest.approx(1.0)
    assert error([1.0, 1.1, 0.5]) == pytest.approx(0.1)


def test_inserts_are_predicted_from_one_connection() -> None:
    measured = [
        Inserts(connections=n, per_second=rate, processor=0.25e-3, server_cores=1.0)
        for n, rate in ((1, 1000.0), (32, 7e3))
    ]
    one, many = producers(measured, 0.5e-3, cores=2)
    assert one.calibrates
    assert (one.found.insert_limit, one.found.inserts) == (CONNECTIONS, pytest.approx(1000))
    assert not many.calibrates
    assert (many.found.insert_limit, many.found.inserts) == (PROCESSORS, pytest.approx(8000))
