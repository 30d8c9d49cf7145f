"""Which queues a worker serves, which comes first, and when one with limits is asked again."""

from __future__ import annotations

from collections import Counter

import pytest

from pgsched.domain.queue_selector import QueueSpec, fits_like, parse_queue_specs
from pgsched.worker.queue_rotation import PEEK_SECONDS, QueueRotation


def rotation(*specs: str, found: list[tuple[str, bool]] | None = None) -> QueueRotation:
    made = QueueRotation(parse_queue_specs(specs))
    if found is not None:
        made.learn(found)
    return made


def turns(made: QueueRotation, number: int) -> list[str]:
    seen = []
    for _ in range(number):
        seen.append(made.order[0])
        made.next_turn()
    return seen


# Turns.


def test_queues_of_one_weight_take_turns() -> None:
    assert turns(rotation("a", "b", "c"), 6) == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("weights", [{"a": 3, "b": 1}, {"a": 5, "b": 2, "c": 1}, {"a": 1, "b": 7}])
def test_a_queue_comes_first_as_often_as_its_weight_says(weights: dict[str, int]) -> None:
    made = rotation(*(f"{name}@{weight}" for name, weight in weights.items()))
    assert Counter(turns(made, 10 * sum(weights.values()))) == {name: 10 * weight for name, weight in weights.items()}


def test_turns_are_spread_evenly() -> None:
    seen = turns(rotation("a@3", "b"), 40)
    assert all("b" in seen[start : start + 4] for start in range(0, 40, 4))


def test_every_queue_is_in_each_claim() -> None:
    made = rotation("a@3", "b", "c")
    for _ in range(5):
        assert sorted(made.order) == ["a", "b", "c"]
        made.next_turn()


# Names.


def test_a_pattern_serves_what_was_found() -> None:
    made = rotation("x", "mail.*", found=[("mail.a", False), ("mail.b", True)])
    assert made.names == ("x", "mail.a", "mail.b")
    assert list(made.limited) == ["mail.b"]
    assert made.serves("mail.new")
    assert not made.serves("other")


def test_a_name_goes_before_a_pattern() -> None:
    made = rotation("mail.a:2", "mail.*:7", found=[("mail.a", False), ("mail.b", False)])
    assert {name: line.max_in_flight for name, line in made.limited.items()} == {"mail.a": 2, "mail.b": 7}


def test_a_call_for_a_new_queue_of_a_pattern_lets_it_be_served() -> None:
    made = rotation("mail.*", found=[("mail.a", True)])
    made.wake("mail.new", 0.0)
    assert set(made.names) == {"mail.a", "mail.new"}
    assert list(made.limited) == ["mail.a"]
    made.wake("other", 0.0)
    assert "other" not in made.names


def test_calls_for_many_new_queues_cost_a_step_each(monkeypatch: pytest.MonkeyPatch) -> None:
    matched: list[str] = []

    def matches(spec: QueueSpec, queue: str) -> bool:
        matched.append(queue)
        return fits_like(queue, spec.like or "")

    monkeypatch.setattr(QueueSpec, "matches", matches)
    made = rotation("mail.*:2", "news.*@3")
    names = [f"{('mail', 'news')[number % 2]}.{number}" for number in range(100)]
    for name in names:
        made.wake(name, 0.0)
    assert len(matched) < 3 * len(names)
    assert made.names == tuple(names)
    assert list(made.limited) == names[::2]
    made.next_turn()
    assert Counter(turns(made, 200)) == {name: 3 if name in names[1::2] else 1 for name in names}


def test_a_worker_with_nothing_but_patterns_that_match_nothing_has_no_queue() -> None:
    assert rotation("mail.*").order == ()


# What is claimed apart.


def test_an_idle_queue_is_asked_when_all_are() -> None:
    made = rotation("a", found=[("a", True)])
    assert made.to_ask(made.order, 5, 100.0, idle_too=False) == []
    ((line, room),) = made.to_ask(made.order, 5, 100.0, idle_too=True)
    assert (line.name, room) == ("a", 5)


def test_a_queue_at_its_limit_is_asked_less_and_less() -> None:
    made = rotation("a", found=[("a", True)])
    line = made.limited["a"]
    pauses = []
    now = 0.0
    for _ in range(8):
        line.answer(0, None, True, now)
        assert line.ready_at is not None
        pauses.append(line.ready_at - now)
        now = line.ready_at
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    made.wake("a", now)
    assert made.ready_in(now) <= 0.005


def test_the_end_of_a_task_lets_its_queue_be_asked_at_once() -> None:
    made = rotation("a", found=[("a", True)])
    made.take("a", [1, 2])
    made.limited["a"].answer(2, None, True, 0.0)
    assert made.ready_in(0.0) > 0
    made.let_go([1], 0.0)
    assert made.ready_in(0.0) == 0
    assert made.in_hand == (2,)


def test_a_rate_is_waited_for() -> None:
    made = rotation("a", found=[("a", True)])
    made.limited["a"].answer(3, 0.7, False, 10.0)
    assert made.ready_in(10.0) == pytest.approx(0.7)
    assert made.to_ask(made.order, 5, 10.5, idle_too=True) == []


def test_a_worker_takes_no_more_than_its_own_limit() -> None:
    made = rotation("a:3")
    made.take("a", [1, 2])
    ((_, room),) = made.to_ask(made.order, 5, 0.0, idle_too=True)
    assert room == 1
    made.take("a", [3])
    assert made.to_ask(made.order, 5, 0.0, idle_too=True) == []
    assert made.to_ask_after([1, 2], 5) == [("a", 2)]
    made.let_go([1, 2, 3], 0.0)
    ((_, room),) = made.to_ask(made.order, 5, 0.0, idle_too=True)
    assert room == 3


def test_a_task_that_is_claimed_again_counts_once() -> None:
    made = rotation("a:3")
    made.take("a", [1])
    made.take("a", [1])
    assert made.limited["a"].in_hand == 1


def test_what_is_in_hand_outlives_the_settings_of_its_queue() -> None:
    made = rotation("mail.*:2", found=[("mail.a", False)])
    made.take("mail.a", [1])
    made.learn([])
    assert made.names == ()
    made.learn([("mail.a", False)])
    assert made.limited["mail.a"].in_hand == 1


def test_without_a_free_slot_a_queue_is_only_looked_at_and_not_often() -> None:
    made = rotation("a", found=[("a", True)])
    line = made.limited["a"]
    ((_, room),) = made.to_ask(made.order, 0, 100.0, idle_too=True)
    assert room == 0
    line.answer(0, None, False, 100.0)
    assert made.to_ask(made.order, 0, 100.0 + PEEK_SECONDS / 2, idle_too=True) == []
    assert made.to_ask(made.order, 0, 100.0 + 2 * PEEK_SECONDS, idle_too=True)


def test_a_queue_that_has_something_and_its_turn_waits_for_a_slot() -> None:
    made = rotation("a", "b", found=[("a", True)])
    assert made.order[0] == "a"
    assert not made.first_waits_for_room(0.0)
    made.limited["a"].answer(0, 0.0, False, 0.0)
    assert made.first_waits_for_room(1.0)
    made.next_turn()
    assert not made.first_waits_for_room(1.0)


def test_what_cannot_be_started_here_is_passed_on_once() -> None:
    made = rotation("a", "b", found=[("a", True), ("b", True)])
    made.take("a", [1, 2])
    made.let_go([1], 0.0)
    assert made.to_notify_peers_of(0.0) == ["a"]
    assert made.to_notify_peers_of(0.0) == []
    made.let_go([2], 0.0)
    assert made.to_notify_peers_of(0.0) == ["a"]


def test_what_every_worker_heard_is_not_passed_on() -> None:
    made = rotation("a", "b", found=[("a", True), ("b", True)])
    made.wake("a", 0.0)
    assert made.limited["a"].ready_at is not None
    assert made.to_notify_peers_of(1.0) == []
    made.wake_all(2.0)
    assert made.to_notify_peers_of(3.0) == []
