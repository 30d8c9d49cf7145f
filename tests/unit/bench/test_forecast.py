"""The model of ``pgsched bench``: its limits, and how they move with what a site has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgsched.bench.forecast import (
    CONNECTIONS,
    OTHERS_IN_SERVER,
    PROCESSORS,
    SERVER,
    SLOTS,
    TRIPS,
    WORKERS,
    Costs,
    Site,
    efficiency_of,
    forecast,
    limits,
)
from pgsched.bench.sites import NAMES, read_site, usual_sites
from pgsched.domain.errors import InvalidTask

COSTS = Costs(worker=15e-6, server=25e-6, insert=0.2e-3, insert_processor=0.25e-3, pickup=1.5e-3)
HERE = Site(cores=2, round_trip=50e-6, sync=0.5e-3)


def test_shared_processors_are_divided_by_what_worker_and_server_use() -> None:
    found = forecast(COSTS, HERE)
    assert found.limit == PROCESSORS
    assert found.rate == pytest.approx(2 / 40e-6)


def test_more_cores_never_lower_the_rate_and_end_at_the_worker_processes() -> None:
    found = [forecast(COSTS, replace(HERE, cores=cores)) for cores in (1, 2, 4, 8, 16, 64)]
    rates = [one.rate for one in found]
    assert rates == sorted(rates)
    assert (found[0].limit, found[-1].limit) == (PROCESSORS, WORKERS)
    assert rates[-1] == pytest.approx(1 / 15e-6)


def test_more_processes_help_until_the_servers_processors_are_busy_and_cost_beyond() -> None:
    apart = replace(HERE, cores=4, worker_cores=32)
    found = [forecast(COSTS, replace(apart, processes=processes)) for processes in (1, 2, 3, 8, 32)]
    rates = [one.rate for one in found]
    assert [one.limit for one in found] == [WORKERS, WORKERS, SERVER, SERVER, SERVER]
    assert rates[0] < rates[1]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(4 / (25e-6 * (1 + 31 * OTHERS_IN_SERVER)))


def test_what_was_measured_with_several_processes_is_predicted_for_as_many() -> None:
    site = replace(HERE, processes=5)
    assert forecast(replace(COSTS, processes=5), site).rate == pytest.approx(2 / 40e-6)
    assert forecast(replace(COSTS, processes=5), HERE).rate > 2 / 40e-6


def test_leased_rows_are_not_in_the_way_of_other_processes() -> None:
    site = replace(HERE, handler=0.01, concurrency=10_000)
    assert forecast(COSTS, replace(site, processes=8)).rate == pytest.approx(forecast(COSTS, site).rate)


@pytest.mark.parametrize("name", ["round_trip", "sync", "handler"])
def test_rate_never_rises_with(name: str) -> None:
    rates = [forecast(COSTS, replace(HERE, **{name: value})).rate for value in (0.0, 0.001, 0.004, 0.02, 0.1, 1.0)]
    assert rates == sorted(rates, reverse=True)


def test_handlers_that_wait_are_limited_by_slots() -> None:
    site = replace(HERE, concurrency=10, handler=0.1)
    found = forecast(COSTS, site)
    assert found.limit == SLOTS
    assert found.rate == pytest.approx(100, rel=0.01)
    assert forecast(COSTS, replace(site, processes=3)).rate == pytest.approx(300, rel=0.01)


def test_very_distant_server_is_limited_by_round_trips() -> None:
    site = replace(HERE, cores=64, processes=1, round_trip=0.1)
    found = forecast(COSTS, site)
    assert found.limit == TRIPS
    assert found.rate < 1000 / 0.1


def test_small_batches_of_a_distant_worker_with_one_slot_grow_no_further_than_the_rate_feeds_them() -> None:
    near, far = (limits(COSTS, replace(HERE, cores=64, concurrency=1, round_trip=trip))[TRIPS] for trip in (0.05, 0.5))
    assert far < near
    assert far < 100  # a batch of a few rows every half a second


def test_pickup_is_a_round_trip_longer_and_waits_for_the_disk_when_the_row_is_leased_first() -> None:
    assert forecast(COSTS, replace(HERE, round_trip=0.0)).pickup == pytest.approx(1.5e-3)
    assert forecast(COSTS, replace(HERE, round_trip=0.001)).pickup == pytest.approx(2.5e-3)
    assert forecast(COSTS, replace(HERE, round_trip=0.0, handler=0.01)).pickup == pytest.approx(2.0e-3)


def test_inserts_grow_with_connections_until_the_processors_are_busy() -> None:
    found = [forecast(COSTS, replace(HERE, connections=connections)) for connections in (1, 2, 4, 64)]
    assert found[0].insert_limit == CONNECTIONS
    assert found[0].inserts == pytest.approx(1 / 0.75e-3)
    assert found[1].inserts == pytest.approx(2 / 0.875e-3)  # half of the commits wait for a flush in progress as well
    assert found[-1].insert_limit == PROCESSORS
    assert found[-1].inserts == pytest.approx(2 / 0.25e-3)


def test_efficiency_is_what_was_reached_of_the_processors_limit() -> None:
    ideal = forecast(COSTS, HERE).rate
    assert efficiency_of(COSTS, HERE, 0.8 * ideal) == pytest.approx(0.8)
    assert forecast(replace(COSTS, efficiency=0.8), HERE).rate == pytest.approx(0.8 * ideal)


def test_efficiency_is_unknown_and_one_where_slots_were_the_limit() -> None:
    assert efficiency_of(COSTS, replace(HERE, concurrency=1, handler=0.1), 9.0) == 1.0


def test_prediction_names_what_differs() -> None:
    site = read_site("cores=8, worker-cores=16,processes=4,round-trip=1ms,sync=250us,handler=0.5s,connections=3", HERE)
    assert site == Site(
        cores=8,
        worker_cores=16,
        processes=4,
        concurrency=HERE.concurrency,
        round_trip=0.001,
        sync=0.00025,
        handler=0.5,
        connections=3,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cores", f"invalid prediction 'cores': must be NAME=VALUE, NAME one of {', '.join(NAMES)}"),
        ("disk=1ms", "invalid prediction 'disk=1ms': must be NAME=VALUE"),
        ("cores=0", "invalid prediction 'cores=0': cores must be a whole number between 1 and 100000"),
        ("round-trip=1", "invalid prediction 'round-trip=1': round-trip must be a duration such as 0.2ms, 50us or 1s"),
        ("cores=1,cores=2", "cores is given twice"),
    ],
)
def test_prediction_that_cannot_be_read_is_rejected_with_its_rule(text: str, said: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        read_site(text, HERE)
    assert said in str(raised.value)


def test_usual_sites_begin_with_the_measured_one() -> None:
    here, larger, farther = usual_sites(HERE)
    assert here == HERE
    assert (larger.cores, larger.processes) == (8, 8)
    assert farther.round_trip == pytest.approx(HERE.round_trip + 0.001)
