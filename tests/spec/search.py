"""The search over every interleaving: all states that can be reached, and from each of them a way to the end."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

State = TypeVar("State")
Step = TypeVar("Step")
Rules = TypeVar("Rules")
Size = TypeVar("Size")


@dataclass(frozen=True, kw_only=True)
class Specification(Generic[State, Step, Rules, Size]):
    """What is searched: the steps, what must be true, and what is an end."""

    rules: Rules
    """All of them."""
    first: Callable[[Size], State]
    steps: Callable[[State, Rules, Size], Iterable[tuple[Step, State]]]
    """Every step that may be the next."""
    invariants: Mapping[str, Callable[[State, Size], bool]]
    """What is true of every state."""
    step_invariants: Mapping[str, Callable[[State, Step, State], bool]]
    """What is true of every step."""
    ended: Callable[[State], bool]
    leads_on: Callable[[Step], bool]
    """Whether a step may be counted on: one that the worker that is left takes, or time."""


@dataclass
class Found(Generic[Step]):
    """What the search found."""

    states: int = 0
    steps: int = 0
    names: set[str] = field(default_factory=set)
    """Of the steps."""
    broken: dict[str, list[Step]] = field(default_factory=dict)
    """Each rule that is broken, with the shortest way to where it is."""
    stuck: list[Step] | None = None
    """The shortest way to a state from which one worker cannot bring the row to its end; None when there is none."""


def search(
    spec: Specification[State, Step, Rules, Size], size: Size, rules: Rules | None = None, *, most: int = 10_000_000
) -> Found[Step]:
    """Walk through every state, breadth first, until a step breaks a rule.

    Raises AssertionError when there are more than ``most``.
    """
    gc.disable()  # nothing here goes in circles, and there are millions of objects to look through in vain
    try:
        return _search(spec, size, rules or spec.rules, most)
    finally:
        gc.enable()


def _search(spec: Specification[State, Step, Rules, Size], size: Size, rules: Rules, most: int) -> Found[Step]:
    found: Found[Step] = Found()
    begin = spec.first(size)
    came: dict[State, tuple[State, Step] | None] = {begin: None}
    leads_on: defaultdict[State, list[State]] = defaultdict(list)
    line = [begin]
    for state in line:
        for step, after in spec.steps(state, rules, size):
            found.steps += 1
            found.names.add(step.name)
            broken = [rule for rule, holds in spec.step_invariants.items() if not holds(state, step, after)]
            if after not in came:
                broken += [rule for rule, holds in spec.invariants.items() if not holds(after, size)]
            for rule in broken:
                found.broken.setdefault(rule, [*_way(came, state), step])
            if broken:
                found.states = len(came)
                return found
            if spec.leads_on(step):
                leads_on[after].append(state)
            if after not in came:
                came[after] = (state, step)
                line.append(after)
                assert len(came) <= most, f"more than {most} states"
    found.states = len(came)
    found.stuck = _stuck(spec.ended, came, leads_on)
    return found


def _stuck(
    ended: Callable[[State], bool],
    came: dict[State, tuple[State, Step] | None],
    leads_on: dict[State, list[State]],
) -> list[Step] | None:
    good = {state for state in came if ended(state)}
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
