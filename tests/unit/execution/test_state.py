"""``ctx.state``: what lifespans yield, by name and by type."""

from __future__ import annotations

import copy

import pytest

from pgsched.execution.context import Context
from pgsched.execution.state import State
from tests.support.engine import NOW, claimed


class Client: ...


class Quick(Client): ...


def giver() -> None: ...


def other() -> None: ...


def state_of(*yielded: object) -> State:
    state = State()
    for value in yielded:
        state.add(value, giver)
    return state


def test_a_value_is_found_by_its_type_and_by_that_of_a_base() -> None:
    quick = Quick()
    state = state_of(quick, None, 7)
    assert state.get(Quick) is state.get(Client) is quick
    assert state.get(int) == 7


def test_values_of_a_mapping_are_found_by_name_too() -> None:
    client = Client()
    state = state_of({"http": client, "number": 7})
    assert state["http"] is state.http is state.get(Client) is client
    assert list(state) == ["http", "number"]
    assert "http" in state
    assert "pool" not in state


def test_what_is_not_there_is_told_with_what_is() -> None:
    state = state_of({"http": Client()}, 7)
    held = r"it has http \(Client\), int$"
    with pytest.raises(KeyError, match=r"ctx\.state has no 'pool'"):
        state["pool"]
    with pytest.raises(AttributeError, match=rf"ctx\.state has no 'pool': {held}"):
        _ = state.pool
    with pytest.raises(LookupError, match=rf"ctx\.state has no value of type str: {held}"):
        state.get(str)


def test_several_values_of_a_type_are_ambiguous() -> None:
    with pytest.raises(LookupError, match=r"ctx\.state has 2 values of type Client: it has Client, Quick"):
        state_of(Client(), Quick()).get(Client)


def test_a_name_that_two_lifespans_yield_is_refused_naming_the_first() -> None:
    state = state_of({"http": 1})
    with pytest.raises(ValueError, match=rf"'http' is yielded by {__name__}\.giver already"):
        state.add({"http": 2}, other)


def test_a_state_can_be_copied() -> None:
    assert copy.copy(state_of({"number": 7}))["number"] == 7


def test_a_context_outside_of_a_worker_says_where_lifespans_are_opened() -> None:
    context = Context(task=claimed(), clock=lambda: 0.0, now=lambda: NOW, deadline=None, is_catchup=False)
    with pytest.raises(LookupError, match=r"lifespans are opened by workers and by pgsched\.testing"):
        context.state.get(Client)
