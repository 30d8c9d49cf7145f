"""``--watch``: again and again, without a clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgsched.cli.watch import repeat
from pgsched.domain.errors import DatabaseUnavailable


class Ended(Exception):
    """The user pressed Ctrl-C."""


def sleeping(times: int) -> tuple[list[float], Callable[[float], None]]:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == times:
            raise Ended

    return slept, sleep


def test_without_watch_it_is_printed_once() -> None:
    printed: list[str] = []
    repeat(lambda: "found", printed.append, every=None)
    assert printed == ["found"]


def test_it_is_found_and_printed_again_after_each_pause() -> None:
    numbers, printed = iter(range(10)), []
    slept, sleep = sleeping(3)
    with pytest.raises(Ended):
        repeat(lambda: next(numbers), printed.append, every=5.0, sleep=sleep)
    assert (printed, slept) == ([0, 1, 2], [5.0, 5.0, 5.0])


def test_database_that_goes_away_is_reported_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers, printed = iter(["one", DatabaseUnavailable("no server"), "two"]), []

    def find() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    _, sleep = sleeping(3)
    with pytest.raises(Ended):
        repeat(find, printed.append, every=1.0, sleep=sleep)
    assert printed == ["one", "two"]
    assert capsys.readouterr().err == "pgsched: no server\n"


def test_database_that_was_never_there_is_an_error() -> None:
    def find() -> str:
        raise DatabaseUnavailable("no server")

    with pytest.raises(DatabaseUnavailable):
        repeat(find, print, every=1.0)
