"""The search over every interleaving: all states that can be reached, and from each of them a way to the end."""

from __future__ import annotations

import gc
from collections import defaultdict
from dataclasses import dataclass, field

from tests.spec.lease import ENDED, INVARIANTS, STEP_INVARIANTS, SURVIVOR, Rules, Size, State, Step, first, steps

PATIENT = (
    *("claim", "lock", "start", "go well", "finish", "finish within", "bury"),
    *("find the lease", "find the end", "drop what was lost"),
)
"""What the worker that is left does to bring a row to its end. Beside that leases run out, transactions are lost, and
the others die."""


@dataclass
class Found:
    """What the search found."""

    states: int = 0
    steps: int = 0
    broken: dict[str, list[Step]] = field(default_factory=dict)
    """Each rule that is broken, with the shortest way to where it is."""
    stuck: list[Step] | None = None
    """The shortest way to a state from which one worker cannot bring the row to its end; None when there is none."""


def search(size: Size, rules: Rules | None = None, *, most: int = 10_000_000) -> Found:
    """Walk through every state, breadth first, until a step breaks a rule.

    Raises AssertionError when there are more than ``most``.
    """
    gc.disable()  # nothing here goes in circles, and there are millions of objects to look through in vain
    try:
        return _search(size, rules or Rules(), most)
    finally:
        gc.enable()


def _search(size: Size, rules: Rules, most: int) -> Found:
    found = Found()
    begin = first(size)
    came: dict[State, tuple[State, Step] | None] = {begin: None}
    leads_on: defaultdict[State, list[State]] = defaultdict(list)
    line = [begin]
    for state in line:
        for step, after in steps(state, rules, size):
            found.steps += 1
            broken = [rule for rule, leased_tasks in STEP_INVARIANTS.items() if not leased_tasks(state, step, after)]
            broken += (
                [rule for rule, leased_tasks in INVARIANTS.items() if not leased_tasks(after, size)]
                if after not in came
                else []
            )
            for rule in broken:
                found.broken.setdefault(rule, [*_way(came, state), step])
            if broken:
                found.states = len(came)
                return found
            if step.name in ("expire", "lose the transaction", "crash for good") or (
                step.worker == SURVIVOR and step.name in PATIENT
            ):
                leads_on[after].append(state)
            if after not in came:
                came[after] = (state, step)
                line.append(after)
                assert len(came) <= most, f"more than {most} states"
    found.states = len(came)
    found.stuck = _stuck(came, leads_on)
    return found


def _stuck(came: dict[State, tuple[State, Step] | None], leads_on: dict[State, list[State]]) -> list[Step] | None:
    good = {state for state in came if state.row.status in ENDED}
    line = list(good)
    for state in line:
        for before in leads_on.get(state, ()):
            if before not in good:
                good.add(before)
                line.append(before)
    return next((_way(came, state) for state in came if state not in good), None)


def _way(came: dict[State, tuple[State, Step] | None], state: State) -> list[Step]:
    way = []
    at = came[state]
    while at is not None:
        way.append(at[1])
        at = came[at[0]]
    return way[::-1]
