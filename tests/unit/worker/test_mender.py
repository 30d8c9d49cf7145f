"""Which child processes are ended because they are unwell, and how: the tests have the clock."""

from __future__ import annotations

from multiprocessing import Pipe
from typing import Any, cast

import pytest

from pgsched.worker import children
from pgsched.worker.children import EVERY_SECONDS, KILL_SECONDS, STARTING_SECONDS, Child, Mender

SILENCE, STOP = 90.0, 45.0


class Process:
    """A process that notes what it is sent."""

    pid = 4711

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive

    def terminate(self) -> None:
        self.sent.append("TERM")

    def kill(self) -> None:
        self.sent.append("KILL")


class Asked:
    """A child that answers what the test says; None: it does not answer."""

    must_answer = True

    def __init__(self) -> None:
        self.process = Process()
        self.says: str | None = ""
        self.questions: list[str] = []

    def ask(self, question: str, _seconds: float) -> str | None:
        self.questions.append(question)
        return self.says


class Place:
    """One child and its mender; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.child = Asked()
        self.process = self.child.process
        self.mender = Mender(silence=SILENCE, stop=STOP, clock=lambda: self.now)

    @property
    def mending(self) -> bool:
        return self.mender.mending(cast("Child", self.child))

    def after(self, seconds: float = EVERY_SECONDS) -> list[str]:
        self.now += seconds
        self.mender.run_once([cast("Child", self.child)])
        return self.process.sent


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_child_that_is_well_is_left_alone(place: Place) -> None:
    assert [place.after() for _ in range(100)][-1] == []
    assert set(place.child.questions) == {"healthy"}


def test_children_are_asked_now_and_then_only(place: Place) -> None:
    place.after()
    place.after(EVERY_SECONDS / 2)
    assert len(place.child.questions) == 1


def test_a_child_that_is_unwell_is_told_to_end_and_killed_when_it_does_not(place: Place) -> None:
    place.child.says = "overdue_attempts: 2 of 2 slots are held"
    assert place.after() == ["TERM"]
    assert place.mending
    assert place.after(STOP) == ["TERM"], "its own time limit is not over"
    assert place.after(KILL_SECONDS) == ["TERM", "KILL"]
    assert not place.mending or place.after(KILL_SECONDS)
    place.after(KILL_SECONDS)
    assert not place.mending, "one that does not even die of SIGKILL is everybody's problem again"


def test_a_child_that_has_ended_is_not_asked(place: Place) -> None:
    place.process.alive = False
    place.child.says = "broken"
    assert place.after() == []


def test_a_child_that_does_not_answer_for_long_is_ended(place: Place) -> None:
    place.child.says = None
    assert place.after() == []
    assert place.after(SILENCE) == []
    assert place.after() == ["TERM"]


def test_an_answer_ends_the_silence(place: Place) -> None:
    place.child.says = None
    place.after()
    place.after(SILENCE - EVERY_SECONDS)
    place.child.says = ""
    place.after()
    place.child.says = None
    assert place.after() == []
    assert place.after(SILENCE) == []


def test_a_child_that_has_just_been_started_is_not_waited_for(place: Place) -> None:
    place.child.must_answer = False
    place.child.says = None
    assert place.after(10 * SILENCE) == []
    assert place.child.questions == []


def test_a_child_that_imports_for_minutes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may take that long to import; its process answers only afterwards."""
    now = 1000.0
    monkeypatch.setattr(children, "monotonic", lambda: now)
    ours, theirs = Pipe()
    with ours, theirs:
        child = Child(cast("Any", Process()), ours)
        now += 300.0
        assert not child.must_answer
        now += STARTING_SECONDS
        assert child.must_answer
