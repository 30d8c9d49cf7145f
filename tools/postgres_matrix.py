"""``python -m tools.postgres_matrix 14 18 -- PYTEST_ARGUMENTS``: run tests on several PostgreSQL servers in turn.

Installs the servers that are missing, runs pytest once on each, and closes with one line for each: passed, failed,
skipped, minutes. Ends with 1 when a test failed on any. A server is a major version, or a folder with PostgreSQL's
programs (``/usr/lib/postgresql/15/bin``).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from pgsched.db.embedded.server import packaged_binaries
from pgsched.db.server_version import SUPPORTED
from tests.support.servers import binaries_of
from tools.postgres_servers import install, pins


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of pytest came to."""

    server: str
    tests: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    exit_code: int = 0

    @classmethod
    def of(cls, report: Path, *, server: str, seconds: float, exit_code: int) -> Run:
        """Read the report that pytest wrote; there is none when it could not begin."""
        if not report.exists():
            return cls(server=server, seconds=seconds, exit_code=exit_code)
        suites = list(ElementTree.parse(report).iter("testsuite"))

        def total(*names: str) -> int:
            return sum(int(suite.get(name, "0")) for suite in suites for name in names)

        return cls(
            server=server,
            tests=total("tests"),
            failed=total("failures", "errors"),
            skipped=total("skipped"),
            seconds=seconds,
            exit_code=exit_code,
        )

    @property
    def passed(self) -> int:
        """How many tests ran and were right."""
        return self.tests - self.failed - self.skipped


def run_on(name: str, arguments: list[str]) -> Run:
    """Run pytest on one server."""
    server = f"pg{name}" if name.isdigit() else name
    if name.isdigit() and int(name) in pins():
        install(int(name))
    version = version_of(binaries_of(server) or packaged_binaries())
    print(f"\n== PostgreSQL {version}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments],
            env={name: os.environ[name] for name in os.environ if not name.startswith("PGSCHED_TEST_")}
            | {"PGSCHED_TEST_SERVER": server},
            check=False,
        )
        return Run.of(report, server=version, seconds=time.monotonic() - began, exit_code=done.returncode)


def version_of(binaries: Path) -> str:
    """The version of the server in a folder: ``14.23``."""
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\) (\S+)", said)
    return found[1] if found else said.strip()


def table(runs: list[Run]) -> str:
    """The closing table, as Markdown, so that it can be put into a page as it is."""
    lines = ["| PostgreSQL | passed | failed | skipped | minutes |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.server} | {one.passed:,} | {one.failed:,} | {one.skipped:,} | {one.seconds / 60:.1f} |" for one in runs
    ]
    return "\n".join(lines)


def main() -> int:
    """Run what the command line asks for; 1 when anything failed."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    names, arguments = words[:split] or [str(major) for major in SUPPORTED], words[split + 1 :]
    runs = [run_on(name, arguments) for name in names]
    print(f"\n{table(runs)}")
    return int(any(one.exit_code for one in runs))


if __name__ == "__main__":
    sys.exit(main())
