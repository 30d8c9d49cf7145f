"""The doctor's list of checks, its page, and how it says things."""

from __future__ import annotations

import pytest

from pgsched.ops.doctor.catalogue import CHECKS, NAMES, OF_ANY_SCHEMA, OF_OUR_SCHEMA
from pgsched.ops.doctor.findings import SEVERITIES, Checked, Diagnosis, Finding
from pgsched.ops.doctor.words import age, literal, many, some_ids, word
from tests.support.doc_examples import table


def test_page_lists_every_check_with_what_to_do() -> None:
    listed = [
        (row["check"], row["severity"], row["finds"], row["what to do"]) for row in table("doctor", "Checks").rows
    ]
    said = [(check.name, ", ".join(check.severities), check.finds, check.remedy) for check in CHECKS]
    assert [tuple(cell.replace("`", "") for cell in row) for row in listed] == [
        tuple(cell.replace("`", "") for cell in row) for row in said
    ]


def test_every_check_has_one_judgement_and_known_severities() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(OF_ANY_SCHEMA) | set(OF_OUR_SCHEMA) == set(NAMES)
    assert not set(OF_ANY_SCHEMA) & set(OF_OUR_SCHEMA)
    assert all(check.severities and set(check.severities) <= set(SEVERITIES) for check in CHECKS)


@pytest.mark.parametrize(
    ("severity", "healthy", "strictly"), [("error", False, False), ("warning", True, False), ("hint", True, True)]
)
def test_errors_are_trouble_and_warnings_when_it_is_strict(severity: str, healthy: bool, strictly: bool) -> None:
    finding = Finding(check="pooler", severity=severity, object="x", problem="y", advice="z")  # type: ignore[arg-type]
    diagnosis = Diagnosis(checks=[Checked(check="pooler", state="found")], findings=[finding])
    assert (diagnosis.healthy(), diagnosis.healthy(strict=True)) == (healthy, strictly)


def test_words() -> None:
    assert [age(n) for n in (None, 0.4, 59, 61, 3_700, 90_000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 m 1 s",
        "1 h 1 m",
        "1 d 1 h",
    ]
    assert literal("it's") == "'it''s'"
    assert word("a b") == "'a b'"
    assert [many(1, "task"), many(2_000, "task"), many(1_000, "task", 1_000)] == [
        "1 task",
        "2,000 tasks",
        "1,000+ tasks",
    ]
    assert [some_ids([5], 1), some_ids([5, 6], 2), some_ids([5, 6, 7], 9)] == [
        "task 5",
        "tasks 5, 6",
        "tasks 5, 6, 7 and more",
    ]
