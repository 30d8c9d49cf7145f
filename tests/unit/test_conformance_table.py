"""The table of docs/worker_protocol.md has every test of the conformance suite, and each passes."""

from __future__ import annotations

from tests.conformance.workers import LANGUAGES, cases, conformance_table
from tests.support.processes import CHECKOUT


def test_page_has_every_case_and_each_passes() -> None:
    """When it fails: ``PGSCHED_CONFORMANCE_TABLE=1 make test-conformance`` prints the table."""
    page = (CHECKOUT / "docs" / "worker_protocol.md").read_text(encoding="utf-8")
    shown = page.split("<!-- conformance: begin -->\n")[1].split("<!-- conformance: end -->")[0].strip()
    assert shown == conformance_table({(name, language): "passes" for name in cases() for language in LANGUAGES})


def test_each_case_says_what_it_shows() -> None:
    assert all(cases().values())
