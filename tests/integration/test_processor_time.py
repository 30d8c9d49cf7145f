"""Processor times of other processes, which a forecast is calibrated by."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

from pgsched.bench.processor_time import seconds_of, server_seconds
from tests.support.waiting import wait_until


def test_time_of_a_process_is_what_it_used() -> None:
    burning = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", burning], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = seconds_of([process.pid])
        process.kill()
    assert used is not None
    assert 0.28 <= used < 2


def test_time_of_a_process_that_has_ended_is_unknown() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert seconds_of([process.pid]) is None
    assert seconds_of([]) is None


def test_process_that_is_no_postgresql_is_another_machines_backend() -> None:
    assert server_seconds(os.getpid()) is None
    assert server_seconds(2**22 + 1) is None


def test_time_of_a_server_includes_sessions_that_have_ended(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        backend = connection.info.backend_pid
        before = server_seconds(backend)
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("select count(md5(n::text)) from generate_series(1, 400_000) n")
        assert before is not None

        def counted() -> bool:
            after = server_seconds(backend)
            return after is not None and after - before >= 0.02

        wait_until(counted, timeout=10, message="the ended session is counted")
