"""The table of the trials: kept in a file, shown in a terminal and in docs/chaos.md."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.faults import FAULTS, table
from chaos.faults.model import Row
from chaos.poison.kinds import described
from tests.support.processes import CHECKOUT

PAGE = CHECKOUT / "docs" / "chaos.md"
ROW = Row(system="pgsched", fault="worker-sigkill", seed=7, tasks=100_000, injected=200, before=100, after=99)
RUN = table.Run(
    measured="2030-01-01 12:00 UTC",
    machine={"cpu": "2 x Z80", "postgresql": "18.0", "python": "3.11.7"},
    rows=[replace(ROW, recovery_seconds=1.25), replace(ROW, fault="soak", left_out="no machine")],
)


def between(mark: str) -> str:
    """What stands in the page between two marks."""
    found = re.search(f"<!-- {mark}: begin -->\n(.*)<!-- {mark}: end -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].strip()


def test_the_page_says_what_each_fault_does() -> None:
    """When it fails: ``python -m chaos --write-docs``."""
    assert between("faults") == table.meanings(FAULTS)
    assert between("poison") == described()


def test_the_page_shows_rows_of_the_faults_there_are_in_their_order() -> None:
    shown = re.findall(r"^\| `([\w-]+)` \|", between("trials"), re.MULTILINE)
    assert shown
    assert shown == [name for name in FAULTS if name in shown]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table.write(tmp_path / "chaos.json", RUN)
    assert table.read(tmp_path / "chaos.json") == RUN


def test_a_table_for_the_documentation_has_what_was_measured_and_what_was_left_out() -> None:
    text = table.for_docs(RUN, FAULTS)
    assert "| `worker-sigkill` | 100,000 | 200 kills | 0 | 0 | 1.2 s | 0.99 |" in text
    assert "| `soak` | left out: no machine |" in text
    assert "Seed 7; 2030-01-01 12:00 UTC; 2 x Z80, PostgreSQL 18.0, Python 3.11.7." in text
    assert "Of `soak` the short form." in table.for_docs(replace(RUN, rows=[replace(RUN.rows[1], short=True)]), FAULTS)


def test_rows_of_other_faults_stay_in_the_order_of_the_faults() -> None:
    new = replace(ROW, seed=8)
    soak = RUN.rows[1]
    assert table.merge([soak, ROW], [new], order=list(FAULTS)) == [new, soak]


def test_a_line_says_what_is_wrong() -> None:
    assert "the throughput was not" in table.line(ROW)
    assert "the throughput was not" not in table.line(ROW, problems=False)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the marks"):
        table.put_into("# Page\n", "trials", "| |")


def test_an_unknown_fault_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "chaos", "--only", "worker-sigkill,flood"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "unknown: flood; see --list\n")
