"""The settings of a worker, and where the DSN comes from."""

from __future__ import annotations

from typing import Any

import pytest

from pgsched.domain.errors import ConfigError
from pgsched.domain.settings import WorkerSettings, dsn_from


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("lease", 0.5),
        ("lease", float("nan")),
        ("poll_interval", 0),
        ("shutdown_timeout", -1),
        ("max_batch", 0),
        ("transactions", 0),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} must be between .+ and .+, got {value:g}$"):
        WorkerSettings(**{option: value})


@pytest.mark.parametrize("queues", [(), ("",), ("mail", "")])
def test_a_worker_needs_named_queues(queues: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="queues"):
        WorkerSettings(queues=queues)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = WorkerSettings()
    assert (settings.lease, settings.poll_interval, settings.shutdown_timeout) == (30, 5, 30)


@pytest.mark.parametrize(
    ("concurrency", "transactions", "expected"), [(20, None, 10), (3, None, 3), (20, 15, 15), (4, 15, 4)]
)
def test_transactions_have_as_many_connections_as_can_be_used(
    concurrency: int, transactions: int | None, expected: int
) -> None:
    settings = WorkerSettings(concurrency=concurrency, transactions=transactions)
    assert settings.connections_for_transactions == expected


def test_a_given_dsn_wins_over_the_environment() -> None:
    assert dsn_from({"PGSCHED_DSN": "postgresql:///there"}, "postgresql:///here") == "postgresql:///here"


def test_the_environment_names_the_dsn() -> None:
    assert dsn_from({"PGSCHED_DSN": "postgresql:///there"}) == "postgresql:///there"


def test_without_a_dsn_libpq_decides() -> None:
    assert dsn_from({"PGHOST": "somewhere"}) == ""
