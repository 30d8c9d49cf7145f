"""docs/specification_durable.md: it holds in every state that can be reached, and each of its rules is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import pytest

from tests.spec.durable import CHILD, EVENT, SLEEP, STEP, TRANSACTIONAL, Rules, Size
from tests.spec.durable import Step as Happened
from tests.spec.durable_invariants import DURABLE, INVARIANTS, STEP_INVARIANTS
from tests.spec.search import Found, search
from tests.support.processes import CHECKOUT

STEPS, TRANSACTION, ASLEEP = "two steps that may fail", "a transactional step, cancelled", "a sleep, cancelled"
MAIL, SIDE_BY_SIDE, WITH_CHILD = "an event, cancelled", "two waits of one name side by side", "a child, cancelled"
CHILD_BESIDE = "a child beside a sleep"
SHORT = {
    STEPS: Size(program=((STEP,), (TRANSACTIONAL,)), failures=2),
    TRANSACTION: Size(program=((TRANSACTIONAL,),), failures=1, cancels=1),
    ASLEEP: Size(program=((SLEEP,),), cancels=1),
    MAIL: Size(program=((EVENT,),), events=1, cancels=1),
    SIDE_BY_SIDE: Size(program=((EVENT, EVENT),), events=2, faults=0),
    WITH_CHILD: Size(program=((CHILD,),), cancels=1),
    "a sleep between two steps": Size(program=((STEP,), (SLEEP,), (TRANSACTIONAL,))),
    CHILD_BESIDE: Size(program=((CHILD, SLEEP),), faults=0, cancels=1),
    "an event beside a child": Size(program=((EVENT, CHILD),), events=1, faults=0, cancels=1),
    "an event beside a sleep": Size(program=((EVENT, SLEEP),), events=1, faults=0, cancels=1),
    "an event beside a step that may fail": Size(program=((EVENT, STEP),), events=1, faults=0, failures=2),
    "a step that fails, cancelled, retried manually": Size(
        program=((STEP,),), max_attempts=1, faults=1, failures=2, cancels=1, retries=1
    ),
    "an event, and a new run": Size(program=((EVENT,),), events=1, restarts=1),
}
EVERYTHING = "a step, a sleep, an event, a child and a transactional step"
LONG = {
    EVERYTHING: Size(
        program=((STEP,), (SLEEP,), (EVENT,), (CHILD,), (TRANSACTIONAL,)), events=1, failures=1, cancels=1
    ),
    "two waits of one name side by side, with a fault": Size(program=((EVENT, EVENT),), events=2),
    "two waits of one name, one after the other": Size(program=((EVENT,), (EVENT,)), events=2),
    "two events, two faults": Size(program=((EVENT,),), events=2, faults=2),
}
WITHOUT: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "without growing tokens": (STEPS, ("growth",)),
    "with records without a fence": (STEPS, ("record_fenced",)),
    "with records without a fence, after a cancel": (WITH_CHILD, ("record_fenced",)),
    "with the fence of a record checked but not locked": (TRANSACTION, ("record_locks",)),
    "with suspends without a fence": (STEPS, ("suspend_fenced",)),
    "with finishes without a fence": (STEPS, ("finish_fenced",)),
    "without a check of the status running": (ASLEEP, ("running",)),
    "with effects committed before their record": (TRANSACTION, ("together",)),
    "with a child inserted before its record": (WITH_CHILD, ("child_together",)),
    "with an event consumed separately from the record": (MAIL, ("consumed_together",)),
    "with an event consumed without a check": (SIDE_BY_SIDE, ("consumed_once",)),
    "with a timeout that is not recorded": (MAIL, ("timeout_recorded",)),
    "with an unanswered COMMIT treated as failed": (STEPS, ("looked_up",)),
    "with an unanswered COMMIT looked up beside the transaction in doubt": (TRANSACTION, ("look_up_waits",)),
    "with the same lookup for a wait": (MAIL, ("look_up_waits",)),
    "with the same lookup for a child, and a record overwritten": (
        WITH_CHILD,
        ("look_up_waits", "recorded_once"),
    ),
    "with recorded steps run again on a resume": (STEPS, ("resumes_recorded",)),
    "without a recheck at the suspend": (MAIL, ("rechecked",)),
    "without a recheck at the suspend, for a child": (WITH_CHILD, ("rechecked",)),
    "with the recheck before the row lock": (MAIL, ("recheck_locked",)),
    "with the recheck before the row lock, for a child": (WITH_CHILD, ("recheck_locked",)),
    "with a suspend that counts an attempt": (ASLEEP, ("uncounted",)),
    "with a sender that checks at its insert, and locks only to wake": (
        MAIL,
        ("delivered_at_commit", "deliver_locks"),
    ),
    "with a sender that locks only to wake": (MAIL, ("deliver_locks",)),
    "with a child's finish that locks only to wake": (WITH_CHILD, ("settle_locks",)),
    "with a child's finish that does not lock a pending task": (CHILD_BESIDE, ("pending_locked",)),
    "with a sender that does not lock a pending task": (SIDE_BY_SIDE, ("pending_locked",)),
    "with a sender that checks before it has the lock": (MAIL, ("looks_locked",)),
    "with a child's finish that checks before it has the lock": (WITH_CHILD, ("looks_locked",)),
    "with upkeep that does not check again": (SIDE_BY_SIDE, ("upkeep_rechecks",)),
    "with upkeep that does not check again, after a cancel": (MAIL, ("upkeep_rechecks",)),
    "without upkeep": (MAIL, ("timed_out",)),
    "with a cancel of task and child in one transaction": (WITH_CHILD, ("cascade_apart",)),
    "with a failed step that stays failed": (STEPS, ("failed_again",)),
}
SPARE = {"delivered_at_commit": MAIL, "recorded_once": WITH_CHILD}
"""Rules that the others make superfluous."""
PAGE = (CHECKOUT / "docs" / "specification_durable.md").read_text(encoding="utf-8")


@cache
def searched(name: str) -> Found[Happened]:
    return search(DURABLE, (SHORT | LONG)[name])


def assert_holds(name: str) -> None:
    found = searched(name)
    assert not found.broken, {rule: [step.name for step in way] for rule, way in found.broken.items()}
    assert found.stuck is None, [step.name for step in found.stuck]
    assert f"| {name} | {found.states:,} | {found.steps:,} |" in PAGE, (name, found.states, found.steps)
    assert found.names <= named_in_the_page(), found.names - named_in_the_page()


def named_in_the_page() -> set[str]:
    table = PAGE.partition("| step | when")[2].partition("\n\n")[0].splitlines()[2:]
    return {name for line in table for name in line.split(" | ")[0].removeprefix("| ").split("; ")}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_every_rule_holds_in_every_state_and_each_leads_to_an_end(name: str) -> None:
    assert_holds(name)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_every_rule_holds_in_every_state_of_a_larger_world(name: str) -> None:
    assert_holds(name)


@pytest.mark.long
def test_the_largest_world_has_half_a_million_states() -> None:
    assert searched(EVERYTHING).states >= 500_000


@pytest.mark.long
def test_every_step_that_the_page_names_happens() -> None:
    happened = set().union(*(searched(name).names for name in SHORT | LONG))
    assert happened == named_in_the_page()


@pytest.mark.parametrize("rule", SPARE)
def test_a_rule_that_others_make_superfluous_may_be_left_out(rule: str) -> None:
    found = search(DURABLE, SHORT[SPARE[rule]], Rules(**{rule: False}))
    assert (found.broken, found.stuck) == ({}, None)


# Negative controls: each rule that is left out is found to break something.


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT)
def test_a_rule_that_is_left_out_is_found(name: str) -> None:
    world, rules = WITHOUT[name]
    found = search(DURABLE, SHORT[world], Rules(**dict.fromkeys(rules, False)))
    said = "the run never ends" if found.stuck is not None else min(found.broken, default="")
    way = next(iter(found.broken.values()), found.stuck or [])
    steps = ", ".join(step.name if step.worker < 0 else f"{step.name} ({step.worker})" for step in way)
    assert said, f"nothing is broken {name} in {found.states} states"
    assert f"| {name} | {said} | {steps} |" in PAGE, f"| {name} | {said} | {steps} |"


def test_every_rule_is_left_out_once() -> None:
    assert {rule for _, rules in WITHOUT.values() for rule in rules} | set(SPARE) == set(Rules.__dataclass_fields__)


def test_the_page_names_every_rule_that_must_hold() -> None:
    for rule in (*INVARIANTS, *STEP_INVARIANTS):
        assert re.search(rf"^- {re.escape(rule)}", PAGE, re.IGNORECASE | re.MULTILINE), rule
