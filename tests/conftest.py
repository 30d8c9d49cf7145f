"""Fixtures for every test; tests/README.md explains them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from pgsched.observability import logs
from tests.support import servers
from tests.support.processes import PgschedRunner
from tests.support.shards import three_shards
from tests.support.waiting import wait_until

_RUN = pytest.StashKey[ExitStack]()
_numbers = itertools.count(1)
HANGS_SECONDS = 150.0
"""After which an ``async`` test that hangs fails."""
TESTS = Path(__file__).parent
SLOW_FOLDERS = {"chaos", "deploy", "upgrades", "web"}
"""Every test in them is marked `slow`."""
THREADS_END_SECONDS = 10.0
"""How long a thread that was told to end may take, on a busy machine."""


hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # how fast a machine is proves nothing
hypothesis.settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    # Ignored in a shell's background, or under nohup; what the tests start would inherit it.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # Whatever the machine says, as in the Makefile: each process that a test starts would compile pgsched anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ["TZ"] = "UTC"  # what the server answers is in the zone of whoever asks
    time.tzset()
    if not hasattr(config, "workerinput"):  # the first process, not a pytest-xdist worker
        config.stash[_RUN] = ExitStack()
        config.stash[_RUN].enter_context(servers.run_of_tests())


def pytest_unconfigure(config: pytest.Config) -> None:
    if _RUN in config.stash:
        config.stash[_RUN].close()


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS:
        item.add_marker(pytest.mark.slow)
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _limited(item.obj)


def _limited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(HANGS_SECONDS):
            await test(*args, **kwargs)

    return run


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread of pgsched's behind: it would speak, and log, in the middle of later tests.

    Those that run handlers may stay: nothing can end a handler that does not return.
    """
    before = set(threading.enumerate())
    yield

    def left() -> list[str]:
        names = (thread.name for thread in threading.enumerate() if thread not in before)
        return [name for name in names if re.match("pgsched(?! (handler|http) )", name)]

    wait_until(lambda: not left(), timeout=THREADS_END_SECONDS, message=f"the test left threads: {left()}")


@pytest.fixture(autouse=True)
def logging_is_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process, or a test, has set up: later tests ask what was logged."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logs.release()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """The DSN of the tests' server, of an administrative database."""
    with servers.default_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template_database(server_dsn: str) -> str:
    """The name of a database in which the migrations have run."""
    return servers.ensure_template(server_dsn)


@pytest.fixture
def dsn(server_dsn: str, template_database: str, database_name: str) -> Iterator[str]:
    """The DSN of a fresh, migrated database."""
    with servers.fresh_database(server_dsn, database_name, template=template_database) as fresh:
        yield fresh


@pytest.fixture
def shards(server_dsn: str, template_database: str, database_name: str) -> Iterator[dict[str, str]]:
    """The DSNs of three databases that are the shards of one system, by name."""
    with three_shards(server_dsn, template_database, database_name) as dsns:
        yield dsns


@pytest.fixture
def empty_dsn(server_dsn: str, database_name: str) -> Iterator[str]:
    """The DSN of a fresh database in which no migration has run."""
    with servers.fresh_database(server_dsn, f"{database_name}_empty") as fresh:
        yield fresh


@pytest.fixture
def database_name() -> str:
    """A part of a database's name that no other test uses."""
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"


@pytest.fixture
def run_pgsched(dsn: str, tmp_path: Path) -> Iterator[PgschedRunner]:
    """Start ``pgsched`` processes on the test's database: ``run_pgsched("worker", "--app", "mod:app")``."""
    runner = PgschedRunner(folder=tmp_path, dsn=dsn)
    yield runner
    runner.kill_all()
