from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.durable_records import DurableStep
from pgsched.web.svg.runs import MAX_GAPS, WIDTH, Row, axis_of, cut_to, gaps_of, merge, run_timeline

BEGAN = datetime(2030, 1, 1, 8, tzinfo=UTC)
HOUR, DAY = 3_600.0, 86_400.0
STRETCHES = st.lists(
    st.tuples(st.floats(0, 1e7), st.floats(0, 1e7)).map(lambda pair: (min(pair), max(pair))), max_size=20
)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def step(
    name: str, start: float, end: float | None, kind: str = "step", status: str = "completed", **more: Any
) -> DurableStep:
    values: dict[str, Any] = {
        **dict.fromkeys(("result", "error", "child_id", "event_id", "wakes_at")),
        "task_id": 1, "began_at": BEGAN, "tick_number": 1, "name": name, "key": "", "kind": kind, "status": status,
        "attempts": 1, "cancels_child": True, "started_at": at(start), "finished_at": None if end is None else at(end),
        "fencing_token": 1,
    }  # fmt: skip
    return DurableStep(**values | more)


def bar_of(row: Row[DurableStep]) -> tuple[float, float]:
    """Where a row's bar begins, and how wide it is."""
    (bar,) = (one for one in ElementTree.fromstring(row.track).iter("rect") if one.get("class") != "run-cut")
    return float(bar.get("x") or 0), float(bar.get("width") or 0)


def words_of(*steps: DurableStep, until: float = 10) -> list[tuple[str, datetime | None]]:
    timeline = run_timeline(steps, began_at=BEGAN, ended_at=at(until))
    return [(row.words, row.until) for row in timeline.rows]


def test_steps_stand_in_the_order_of_their_start_each_from_its_start_to_its_end() -> None:
    steps = [step("book", 5, 10), step("charge", 0, 5)]
    timeline = run_timeline(steps, began_at=BEGAN, ended_at=at(10))
    assert [(row.step.name, bar_of(row)) for row in timeline.rows if row.step] == [
        ("charge", (0, 500)),
        ("book", (500, 500)),
    ]
    assert not timeline.shortened


def test_a_sleep_of_days_leaves_steps_of_seconds_to_be_seen() -> None:
    steps = [step("charge", 0, 2), step("cool off", 2, 3 * DAY, "sleep"), step("ship", 3 * DAY, 3 * DAY + 2)]
    timeline = run_timeline(steps, began_at=BEGAN, ended_at=at(3 * DAY + 2))
    assert [bar_of(row) for row in timeline.rows] == [(0, 250), (250, 500), (750, 250)]
    assert timeline.shortened
    (cut,) = (
        one for one in ElementTree.fromstring(timeline.rows[0].track).iter("rect") if one.get("class") == "run-cut"
    )
    assert (cut.get("x"), cut.get("width")) == ("250", "500")


def test_waits_that_are_not_most_of_the_time_are_in_scale() -> None:
    timeline = run_timeline([step("a", 0, 40), step("b", 40, 100, "event")], began_at=BEGAN, ended_at=at(100))
    assert [bar_of(row) for row in timeline.rows] == [(0, 400), (400, 600)]
    assert not timeline.shortened


def test_each_long_wait_is_cut_to_the_same_length_and_short_ones_are_left() -> None:
    assert cut_to([1, 100, 5_000], 21) == 10
    assert cut_to([1, 2], 21) == 2
    assert cut_to([], 21) == 0
    axis = axis_of([(0, 20)], 5_121, [120, 121])
    assert [axis.places[n + 1] - axis.places[n] for n in range(4)] == pytest.approx([500, 237.5, 25, 237.5])


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step("s", 0, 3 * HOUR, "sleep"), "slept 3 h"),
        (step("approved", 0, 2 * DAY, "event"), "waited 2 d for approved"),
        (step("approved", 0, 2 * DAY, "event", "failed"), "no approved came in 2 d"),
        (step("c", 0, 60, "child", child_id=7), "waited 1 m for task 7"),
        (step("c", 0, 60, "child", "failed", child_id=7), "task 7 failed after 1 m"),
        (step("s", 0, 1.2), "took 1.2 s"),
        (step("s", 0, 60, status="failed", attempts=3), "failed after 1 m"),
        (step("now 1", 0, 0, "value"), "recorded"),
    ],
)
def test_what_is_over_says_what_the_time_went_by_with(one: DurableStep, words: str) -> None:
    assert words_of(one, until=0) == [(words, None)]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step("s", 0, None, "sleep", "waiting", wakes_at=at(HOUR)), "sleeps"),
        (step("approved", 0, None, "event", "waiting", wakes_at=at(HOUR)), "waits for approved"),
        (step("s", 0, None, status="failing", wakes_at=at(HOUR)), "will be retried"),
    ],
)
def test_what_is_not_over_says_until_when(one: DurableStep, words: str) -> None:
    timeline = run_timeline([one], began_at=BEGAN, ended_at=at(60))
    (row,) = timeline.rows
    assert (row.words, row.until) == (words, at(HOUR))
    assert bar_of(row) == (0, WIDTH)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step("approved", 0, None, "event", "waiting"), "waits for approved"),
        (step("c", 0, None, "child", "waiting", child_id=7), "waits for task 7"),
        (step("s", 0, None, status="failing"), "will be retried with the next attempt"),
    ],
)
def test_a_wait_without_an_end_says_none(one: DurableStep, words: str) -> None:
    assert words_of(one) == [(words, None)]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step("s", 0, None, "sleep", "waiting", wakes_at=at(HOUR)), "slept when the run ended"),
        (step("approved", 0, None, "event", "waiting", wakes_at=at(HOUR)), "waited for approved when the run ended"),
        (step("c", 0, None, "child", "waiting", child_id=7), "waited for task 7 when the run ended"),
        (step("s", 0, None, status="failing"), "was to be retried when the run ended"),
        (step("s", 0, 60), "took 1 m"),
    ],
)
def test_a_run_that_is_over_waits_for_nothing_more(one: DurableStep, words: str) -> None:
    timeline = run_timeline([one], began_at=BEGAN, ended_at=at(60), over=True)
    assert [(row.words, row.until) for row in timeline.rows] == [(words, None)]


def test_time_without_a_step_is_a_row_of_its_own() -> None:
    steps = [step("a", 2, 3), step("b", 3.5, 4), step("c", 64, 70)]
    assert [words for words, _ in words_of(*steps, until=100)] == [
        "nothing recorded for 2.0 s",
        "took 1.0 s",
        "took 500 ms",
        "nothing recorded for 1 m",
        "took 6.0 s",
        "nothing recorded for 30 s",
    ]


def test_only_the_longest_gaps_are_named() -> None:
    spans = [(n * (10.0 + n), n * (10.0 + n) + 0.5) for n in range(30)]
    gaps = gaps_of(spans, 30 * 40)
    assert len(gaps) == MAX_GAPS
    assert gaps == sorted(gaps)
    assert min(end - begin for begin, end in gaps) > 45


def test_a_run_without_steps_and_one_of_no_time_have_an_axis() -> None:
    assert words_of(until=0) == []
    assert words_of(step("now 1", 0, 0, "value"), until=0) == [("recorded", None)]


def test_a_clock_that_goes_back_makes_no_bar_that_ends_before_it_begins() -> None:
    timeline = run_timeline([step("a", 5, 3), step("b", -2, 4)], began_at=BEGAN, ended_at=at(1))
    assert timeline.began_at == at(-2)
    for row in timeline.rows:
        x, wide = bar_of(row)
        assert x >= 0
        assert wide > 0
        assert x + wide <= WIDTH


def test_texts_are_escaped() -> None:
    text = '"><b>&'
    timeline = run_timeline([step(text, 0, None, "event", "waiting")], began_at=BEGAN, ended_at=at(1))
    root = ElementTree.fromstring(timeline.rows[0].track)
    assert root.get("aria-label") == f"waits for {text}"
    assert not list(root.iter("b"))


@given(STRETCHES)
def test_merged_stretches_do_not_touch_and_hold_all(stretches: list[tuple[float, float]]) -> None:
    merged = merge(stretches)
    assert all(first[1] < then[0] for first, then in pairwise(merged))
    assert all(any(a <= begin and end <= b for a, b in merged) for begin, end in stretches)


@given(STRETCHES, st.lists(st.floats(0, 1e7), max_size=20))
def test_an_axis_never_goes_back_and_ends_at_its_ends(working: list[tuple[float, float]], edges: list[float]) -> None:
    whole = max([0.0, *edges, *(end for _, end in working)])
    axis = axis_of(working, whole, edges)
    assert (axis.place(0), axis.place(max(whole, 0.001))) == pytest.approx((0, WIDTH))
    places = [axis.place(one) for one in sorted({*edges, *(edge for pair in working for edge in pair)})]
    assert places == sorted(places)
    assert all(0 <= one <= WIDTH + 1e-6 for one in places)


def test_a_gap_that_is_a_hair_of_the_time_is_not_named() -> None:
    assert gaps_of([(0, 1), (30, 31), (131, 10_000)], 10_000) == [(31, 131)]
