"""docs/specification.md: it holds in every state that can be reached, and each of its rules is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tests.spec.lease import INVARIANTS, LEASE, STEP_INVARIANTS, Rules, Size, Step
from tests.spec.search import Found, search
from tests.support.processes import CHECKOUT

SHORT = {
    "a task that is cancelled and released": Size(faults=1, releases=1, cancels=1, retries=0),
    "a schedule of two ticks": Size(ticks=2, faults=2, releases=0, cancels=0, retries=0),
    "a task that is snoozed twice": Size(faults=1, releases=0, cancels=1, retries=0, snoozes=2),
    "three workers": Size(workers=3, faults=2, releases=0, cancels=0, retries=0),
}
LONG = {
    "a task, everything manually": Size(faults=2),
    "a task with four faults": Size(faults=4, releases=1, cancels=0, retries=0),
    "a schedule of two ticks, cancelled and released": Size(ticks=2, faults=2, retries=0),
    "three workers, cancelled and released": Size(workers=3, faults=2, retries=0),
}
WITHOUT: Mapping[str, tuple[str, ...]] = {
    "without the fence": ("fence",),
    "without growing tokens": ("growth",),
    "without the filter by lease": ("lease",),
    "without takeover": ("takeover",),
    "without a check of the status running": ("running",),
    "with attempts counted at their end": ("counted_at_claim",),
    "with effects committed before the outcome": ("together",),
    "with lost attempts not recorded": ("lost_noted",),
    "with a given-up row released": ("holds_remembered",),
    "with the last attempt claimed in advance": ("last_at_once",),
    "with a lost row claimed in advance": ("lost_at_once",),
    "with locked rows taken": ("locks_passed_by",),
    "with the last attempt locked": ("last_leased",),
    "with a row locked a second time": ("touched_leased",),
    "with a lost row locked": ("taken_over_leased",),
    "with the row's own tokens": ("tokens_drawn",),
    "with an outcome under a lost lock sent again": ("lock_is_the_fence",),
    "with an unanswered COMMIT treated as failed": ("outcome_looked_up",),
}
NEEDED = Size(faults=2, releases=1, cancels=0, retries=0)
PAGE = (CHECKOUT / "docs" / "specification.md").read_text(encoding="utf-8")


def assert_holds(found: Found[Step], name: str) -> None:
    assert not found.broken, {rule: [step.name for step in way] for rule, way in found.broken.items()}
    assert found.stuck is None, [step.name for step in found.stuck]
    assert f"| {name} | {found.states:,} | {found.steps:,} |" in PAGE, (name, found.states, found.steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_every_rule_holds_in_every_state_and_each_leads_to_an_end(name: str) -> None:
    assert_holds(search(LEASE, SHORT[name]), name)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_every_rule_holds_in_every_state_of_a_larger_world(name: str) -> None:
    assert_holds(search(LEASE, LONG[name]), name)


@pytest.mark.long
def test_a_cancel_need_not_raise_the_token_while_a_finish_asks_for_running() -> None:
    found = search(LEASE, LONG["a task, everything manually"], Rules(cancel_growth=False))
    assert (found.broken, found.stuck) == ({}, None)


# Negative controls: each rule that is left out is found to break something.


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT)
def test_a_rule_that_is_left_out_is_found(name: str) -> None:
    found = search(LEASE, NEEDED, Rules(**dict.fromkeys(WITHOUT[name], False)))
    said = "the run never ends" if found.stuck is not None else min(found.broken, default="")
    way = next(iter(found.broken.values()), found.stuck or [])
    steps = ", ".join(step.name if step.worker < 0 else f"{step.name} ({step.worker})" for step in way)
    assert said, f"nothing is broken {name} in {found.states} states"
    assert f"| {name} | {said} | {steps} |" in PAGE, (said, steps)


def test_every_rule_is_left_out_once() -> None:
    assert {rule for rules in WITHOUT.values() for rule in rules} | {"cancel_growth"} == set(Rules.__dataclass_fields__)


def test_the_page_names_every_rule_that_must_hold() -> None:
    for rule in (*INVARIANTS, *STEP_INVARIANTS):
        assert re.search(rf"^- {re.escape(rule)}", PAGE, re.IGNORECASE | re.MULTILINE), rule
