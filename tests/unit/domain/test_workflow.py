from __future__ import annotations

from typing import Any

import pytest

from pgsched import App, Context, PayloadMismatch
from pgsched.domain.errors import InvalidTask
from pgsched.domain.workflow import MAX_STEPS, Part, chain, checked_group, group, parallel, step

A, B, C, D, E = (step(name) for name in "abcde")


def waits(*parts: Part) -> dict[str, list[str]]:
    """For each step of a plan the names in its ``after``."""
    return {one.get("name", one["task_type"]): one["after"] for one in group(*parts)["steps"]}


def orders(*parts: Part) -> dict[str, int]:
    return {one["task_type"]: one["order"] for one in group(*parts)["steps"]}


def refusal(*steps: Any) -> str:
    """What is said of a payload with these steps."""
    with pytest.raises(InvalidTask) as caught:
        checked_group({"steps": list(steps)})
    return str(caught.value)


def test_steps_alone_are_the_payload_as_they_are() -> None:
    plan = group(
        step("load", {"path": "a.csv"}, order=1),
        step("load", name="other", order=1, parallel=False, queue="slow", timeout="15m", tags=("a",)),
        step("report", after=["other"], metadata={"for": "ada"}),
    )
    assert plan == {
        "steps": [
            {"task_type": "load", "payload": {"path": "a.csv"}, "order": 1},
            {
                "task_type": "load",
                "name": "other",
                "order": 1,
                "parallel": False,
                "queue": "slow",
                "timeout": "900 secs",
                "tags": ["a"],
            },
            {"task_type": "report", "after": ["other"], "metadata": {"for": "ada"}},
        ]
    }


def test_steps_without_an_order_leave_it_to_their_place() -> None:
    assert group(A, B) == {"steps": [{"task_type": "a"}, {"task_type": "b"}]}


def test_stages_become_orders() -> None:
    assert orders(A, parallel(B, C), D) == {"a": 1, "b": 2, "c": 2, "d": 3}
    assert orders(chain(A, chain(B, C)), D) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert orders(parallel(A, B)) == {"a": 1, "b": 1}


def test_chains_side_by_side_wait_only_for_their_own() -> None:
    plan = parallel(chain(A, B), chain(C, D))
    assert waits(plan, E) == {"a": [], "b": ["a"], "c": [], "d": ["c"], "e": ["b", "d"]}
    assert waits(E, plan) == {"e": [], "a": ["e"], "b": ["a"], "c": ["e"], "d": ["c"]}


def test_a_step_in_a_chain_may_wait_for_more() -> None:
    assert waits(parallel(chain(A, B), chain(C, step("d", after=["a"])))) == {
        "a": [],
        "b": ["a"],
        "c": [],
        "d": ["c", "a"],
    }


def test_a_chain_of_hundreds_is_a_plan() -> None:
    plan = group(chain(*(step("a", name=f"n{number}") for number in range(500))))
    assert [one["order"] for one in plan["steps"]] == list(range(1, 501))


def test_a_plan_is_taken_again_as_it_is() -> None:
    plan = group(chain(step("a", timeout="1d", backoff_delay=0.5, backoff_max="1mo"), parallel(B, chain(C, D))))
    assert checked_group(plan) == plan


def test_a_chain_is_taken_as_a_group() -> None:
    assert checked_group(chain(A, B)) == group(A, B) | {
        "steps": [{"task_type": "a", "order": 1}, {"task_type": "b", "order": 2}]
    }


def test_a_group_may_be_a_step_of_another() -> None:
    inner = group(A, B)
    plan = group(step("pgsched.group", inner, name="inner"), C)
    assert plan["steps"][0] == {"task_type": "pgsched.group", "name": "inner", "payload": inner}


def test_payload_is_copied() -> None:
    payload = {"rows": [1]}
    one = step("a", payload)
    payload["rows"].append(2)
    assert one.fields["payload"] == {"rows": [1]}


def test_payload_is_not_shown() -> None:
    assert "secret" not in repr(step("a", {"password": "secret"}))


# Handlers.


def app_with_handlers() -> App:
    app = App()

    @app.task("resize", queue="images", max_attempts=5, timeout="2m", name="a label", cron="0 8 * * *")
    def resize(path: str, ctx: Context) -> None: ...

    @app.task("note")
    def note() -> None: ...

    app.resize = resize  # type: ignore[attr-defined]
    return app


def test_handler_stands_for_its_type_and_checks_the_payload() -> None:
    resize = app_with_handlers().resize  # type: ignore[attr-defined]
    assert step(resize, {"path": "a.png"}).fields == {"task_type": "resize", "payload": {"path": "a.png"}}
    with pytest.raises(PayloadMismatch, match="'file'"):
        step(resize, {"file": "a.png"})


def test_options_of_the_handler_are_the_defaults_of_a_step() -> None:
    app = app_with_handlers()
    plan = checked_group(group(step("resize", {"path": "a"}, queue="slow"), step("note")), app.defaults_of)
    assert plan["steps"] == [
        {"task_type": "resize", "payload": {"path": "a"}, "queue": "slow", "max_attempts": 5, "timeout": "120 secs"},
        {"task_type": "note"},
    ]


def test_options_of_the_handler_reach_the_steps_of_inner_groups() -> None:
    inner = group(step("resize", {"path": "a"}))
    plan = checked_group(group(step("pgsched.group", inner, name="inner")), app_with_handlers().defaults_of)
    assert plan["steps"][0]["payload"]["steps"][0]["queue"] == "images"


# What is refused.


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{}], "step 1 must have a task_type"),
        ([{"name": "x"}], "step 'x' must have a task_type"),
        ([3], "step 1 must be an object or a task_type, got a int"),
        ([{"task_type": ""}], "step 1: task_type must have 1 to 200 characters, got 0"),
        ([{"task_type": "a", "colour": 1}], "step 'a': 'colour' is no key of a step"),
        ([{"task_type": "a", "cron": "* * * * *"}], "step 'a': 'cron' is no key of a step"),
        ([{"task_type": "a", "queue": None}], "step 'a': queue must have a value: leave it out for the default"),
        ([{"task_type": "a", "priority": 99}], "step 'a': priority must be between 1 and 10, got 99"),
        (
            [{"task_type": "a", "name": "x", "timeout": "0s"}],
            "step 'x': timeout must be at least 1 millisecond, got '0s'",
        ),
        ([{"task_type": "a", "order": "first"}], "step 'a': order must be a number, of 1e308 at most, got 'first'"),
        ([{"task_type": "a", "order": float("nan")}], "step 'a': order must be a number, of 1e308 at most, got nan"),
        ([{"task_type": "a", "order": True}], "step 'a': order must be a number, of 1e308 at most, got True"),
        (
            [{"task_type": "a", "order": 10**309}],
            f"step 'a': order must be a number, of 1e308 at most, got 1{'0' * 99}…",
        ),
        ([{"task_type": "a", "parallel": 1}], "step 'a': parallel must be True or False, got 1"),
        ([{"task_type": "a", "after": "b"}], "step 'a': after must be a list of names, got 'b'"),
        ([{"task_type": "a", "after": [1]}], "step 'a': each of after must be text, got 1"),
        ([{"task_type": "a", "after": ["b"]}], "step 'a': after names 'b', which is no step"),
        ([{"task_type": "a", "payload": [1]}], "step 'a': payload must be a dictionary, got a list"),
        (
            [{"task_type": "a"}, {"task_type": "a"}],
            "steps must have different names, 'a' is there twice: give each a name",
        ),
        ([], f"steps must be between 1 and {MAX_STEPS}, got 0"),
        (
            [{"task_type": "pgsched.group", "name": "inner"}],
            "step 'inner': a group must be an object with a list of steps, got a dict",
        ),
        (
            [{"task_type": "pgsched.group", "payload": {"steps": [{"task_type": "a", "order": []}]}}],
            "step 'pgsched.group': step 'a': order must be a number, of 1e308 at most, got []",
        ),
    ],
)
def test_broken_rule_is_named_with_step_and_value(steps: list[Any], message: str) -> None:
    assert refusal(*steps) == message


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([{"task_type": "a"}], "a group must be an object with a list of steps, got a list"),
        ({"steps": "a"}, "a group must be an object with a list of steps, got a dict"),
        ({"steps": [{"task_type": "a"}], "name": "x"}, "a group must have steps and nothing else, got 'name'"),
    ],
)
def test_what_is_no_group_is_refused(plan: Any, message: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        checked_group(plan)
    assert str(caught.value) == message


def test_more_steps_than_a_group_may_have_are_refused() -> None:
    with pytest.raises(InvalidTask, match="between 1 and 10000, got 10001"):
        checked_group({"steps": [{"task_type": "a", "name": str(number)} for number in range(MAX_STEPS + 1)]})


def test_order_has_no_place_in_a_chain() -> None:
    with pytest.raises(InvalidTask, match="step 'a': order is for steps in a group, its place in a chain decides"):
        chain(step("a", order=1), B)
    with pytest.raises(
        InvalidTask, match="step 'a': parallel is for steps in a group, its place in a parallel decides"
    ):
        parallel(step("a", parallel=False), B)


def test_order_and_chains_do_not_mix() -> None:
    with pytest.raises(InvalidTask, match="step 'a': order is for"):
        group(step("a", order=1), chain(B, C))


def test_nothing_makes_no_plan() -> None:
    for make in (chain, parallel, group):
        with pytest.raises(InvalidTask, match=r"got none|got 0"):
            make()


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidTask, match=r"chain is made of step\(\), chain\(\) and parallel\(\), got a int"):
        chain(A, 7)  # type: ignore[arg-type]
