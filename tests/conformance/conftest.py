"""A database, and workers on it, once for each language; at the end the table of docs/worker_protocol.md."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.workers import CLIENT, LANGUAGES, Stage, conformance_table, stage


def _languages() -> list[str]:
    """Those of PGSCHED_CONFORMANCE (as ``python,typescript``), all when it is not set."""
    wanted = os.environ.get("PGSCHED_CONFORMANCE", ",".join(LANGUAGES)).split(",")
    return [language for language in LANGUAGES if language in wanted]


@pytest.fixture(params=_languages())
def workers(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> Iterator[Stage]:
    """Start workers of one language: ``workers.start(lease=1)``."""
    if request.param == "typescript" and not (shutil.which("node") and (CLIENT / "dist" / "index.js").exists()):
        pytest.skip("the TypeScript worker is not built: clients/typescript/install.sh")
    with stage(dsn, tmp_path, request.param) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came out, where somebody asks for it: ``PGSCHED_CONFORMANCE_TABLE=1``."""
    if "PGSCHED_CONFORMANCE_TABLE" not in os.environ:
        return
    results: dict[tuple[str, str], str] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            found = re.search(r"test_workers\.py::(test_\w+)\[(\w+)\]$", getattr(report, "nodeid", ""))
            if found is not None and (outcome != "passed" or report.when == "call"):
                results[found[1], found[2]] = "passes" if outcome == "passed" else outcome
    terminalreporter.write_line(conformance_table(results))
