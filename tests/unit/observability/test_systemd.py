"""What a service manager is told, and what keeps a watchdog from being fed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from pgsched.domain.errors import ConfigError, DatabaseUnavailable
from pgsched.domain.settings import WorkerSettings
from pgsched.observability import systemd, systemd_watchdog
from pgsched.observability.systemd import find_manager
from pgsched.observability.systemd_watchdog import SystemdWatchdog, longest_block
from pgsched.worker import health
from pgsched.worker.health import Progress
from tests.support.notify_socket import NotifySocket, notify_socket
from tests.support.waiting import wait_until_async


@pytest.mark.parametrize("abstract", [True, False])
def test_messages_arrive_at_a_path_and_at_an_abstract_name(tmp_path: Path, abstract: bool) -> None:
    with notify_socket(None if abstract else tmp_path / "notify") as there:
        manager = find_manager(there.environment(watchdog=2.5))
        assert manager is not None
        assert manager.watchdog == 2.5
        manager.ready()
        manager.alive()
        manager.status("two\nlines")
        manager.stopping()
        there.wait_for("STOPPING=1")
        assert there.messages == ["READY=1", "WATCHDOG=1", "STATUS=two lines", "STOPPING=1"]


def test_without_a_socket_there_is_no_manager() -> None:
    assert find_manager({"WATCHDOG_USEC": "1000000"}) is None


def test_the_variables_are_taken_out_so_that_no_child_speaks_for_us() -> None:
    environment = {"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1", "HOME": "/"}
    find_manager(environment)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(("meant_for", "watchdog"), [("us", 5.0), ("another", None), ("anybody", 5.0)])
def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(meant_for: str, watchdog: float | None) -> None:
    pid = {"us": os.getpid(), "another": os.getpid() + 1, "anybody": None}[meant_for]
    with notify_socket() as there:
        manager = find_manager(there.environment(watchdog=5, pid=pid))
    assert manager is not None
    assert manager.watchdog == watchdog


@pytest.mark.parametrize(
    ("name", "value"),
    [("NOTIFY_SOCKET", "relative"), ("NOTIFY_SOCKET", "@"), ("NOTIFY_SOCKET", "vsock:2:1"), ("WATCHDOG_USEC", "0")]
    + [("WATCHDOG_USEC", value) for value in ("-1", "1.5", "x", "²")],
)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be .*, got '{value}'$"):
        find_manager({"NOTIFY_SOCKET": "/run/notify"} | {name: value})


def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    manager = find_manager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert manager is not None
    manager.ready()
    manager.alive()


def test_a_manager_that_reads_nothing_holds_up_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        manager = find_manager({"NOTIFY_SOCKET": str(tmp_path / "deaf")})
        assert manager is not None
        for _ in range(2000):  # more than the system keeps for a reader
            manager.alive()
            if manager.refused:
                break
        assert manager.refused


# The watchdog.


class Told:
    """A worker of the test, and what the manager hears of it."""

    def __init__(self, there: NotifySocket) -> None:
        self.problem: str | None = "not connected to the database"
        self.stalled: str | None = None
        manager = find_manager(there.environment(watchdog=8))
        assert manager is not None
        self.watchdog = SystemdWatchdog(
            manager, ready=lambda: self.problem, stalled=lambda: self.stalled, load=lambda: (3, 20)
        )


def test_ready_is_said_once_when_claiming_can_begin_and_stopping_once() -> None:
    with notify_socket() as there:
        told = Told(there)
        told.watchdog.run_once()
        told.problem = None
        told.watchdog.run_once()
        told.watchdog.run_once()
        told.watchdog.stopping()
        told.watchdog.stopping()
        there.wait_for("STOPPING=1")
        assert [message for message in there.messages if message != "WATCHDOG=1"] == [
            "STATUS=not connected to the database; running 3 of 20",
            "READY=1",
            "STATUS=running 3 of 20",
            "STOPPING=1",
        ]


def test_the_watchdog_is_fed_only_while_the_worker_moves() -> None:
    with notify_socket() as there:
        told = Told(there)
        told.watchdog.run_once()
        there.wait_for("WATCHDOG=1")
        told.stalled = "the claim loop has stood still for 99 s"
        told.watchdog.run_once()
        told.watchdog.stopping()
        there.wait_for("STOPPING=1")
        assert there.beats == 1


def test_a_blocked_loop_goes_unnoticed_for_a_quarter_of_the_watchdog_at_most() -> None:
    assert [longest_block(seconds) for seconds in (None, 60.0, 2.0)] == [None, 15.0, 1.0]


# What counts as progress.


def stalled_after(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What a claim loop that fails in that way (None: goes well) shows after it has failed for long."""
    monkeypatch.setattr(health, "FAILING_SECONDS", -1.0)

    async def tick() -> None:
        if error is not None:
            raise error

    async def main() -> str | None:
        watched = Progress(WorkerSettings())
        watched.start()
        for _ in range(2):
            with suppress(ValueError, DatabaseUnavailable):
                await watched.watching(tick)()
        try:
            return watched.stalled(60)
        finally:
            watched.end()

    return asyncio.run(main())


def test_a_claim_loop_that_fails_for_a_reason_of_its_own_does_not_move(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (stalled_after(ValueError("a bug"), monkeypatch) or "").startswith("the claim loop has failed for")


def test_a_claim_loop_whose_database_is_away_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stalled_after(DatabaseUnavailable("away"), monkeypatch) is None
    assert stalled_after(None, monkeypatch) is None


def test_a_claim_loop_that_hangs_does_not_move() -> None:
    async def main() -> list[str | None]:
        watched = Progress(WorkerSettings())
        watched.start()
        hanging = asyncio.create_task(watched.watching(asyncio.Event().wait)())  # type: ignore[arg-type]
        before = watched.stalled(60)
        watched.longest_turn = 0.0
        await wait_until_async(lambda: watched.stalled(60), message="it is noticed")
        seen = watched.stalled(60)
        watched.end()
        hanging.cancel()
        return [before, seen, watched.stalled(60)]

    before, seen, after = asyncio.run(main())
    assert (before, after) == (None, None)
    assert (seen or "").startswith("the claim loop has stood still for")


def test_a_turn_may_last_as_long_as_a_slow_database_and_an_idle_wait_take_together() -> None:
    settings = WorkerSettings(poll_interval=3600, lease=30)
    assert Progress(settings).longest_turn >= 3600 + 6 * settings.statement_timeout


def test_a_look_that_raises_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_watchdog, "LOOK_SECONDS", 0.001)
    looks = list[int]()

    def ready() -> str | None:
        looks.append(1)
        if len(looks) < 3:
            raise RuntimeError("nobody thought of it")
        return None

    with notify_socket() as there:
        manager = find_manager(there.environment())
        assert manager is not None
        teller = SystemdWatchdog(manager, ready=ready, stalled=lambda: None, load=lambda: (0, 1))
        teller.start()
        there.wait_for("READY=1")
        teller.stop()


def test_a_status_that_no_encoding_has_is_told_all_the_same() -> None:
    with notify_socket() as there:
        manager = find_manager(there.environment())
        assert manager is not None
        manager.status("of \ud800")
        there.wait_for(r"STATUS=of \ud800")
