"""docs/dst_conformance.md says what the program computes at every case of ``test_cron_dst``."""

from __future__ import annotations

import pytest

from tests.support.clock_changes import CASES, CRONSIM_DIFFERS, EXPRESSIONS
from tools.dst_conformance import PAGE, REASONS, page, reason, result

MAX_BYTES = 200_000


@pytest.mark.slow
def test_the_page_says_what_the_program_computes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it again and look at the difference: python -m tools.dst_conformance"
    )


def test_the_page_stays_readable_in_a_browser() -> None:
    assert len(page().encode()) < MAX_BYTES


def test_every_case_of_the_page_agrees_with_the_rule() -> None:
    assert [case for case in CASES if result(*case).ticks != result(*case).rule] == []


@pytest.mark.parametrize(("zone", "change", "expression"), CRONSIM_DIFFERS)
def test_every_difference_of_cronsim_that_is_explained_is_there(zone: str, change: str, expression: str) -> None:
    found = result(expression, zone, change)
    assert found.cronsim != found.ticks


def test_every_difference_of_cronsim_is_explained() -> None:
    differs = [case for case in CASES if case[0] in EXPRESSIONS and result(*case).cronsim != result(*case).ticks]
    assert [case for case in differs if reason(*case) not in REASONS.values()] == []
