"""What a command says while it changes many tasks."""

from __future__ import annotations

import io

import pytest

from pgsched.cli.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_has_one_line_that_is_gone_at_the_end() -> None:
    stream, clock = Terminal(), Clock()
    with ProgressLine("tasks cancelled", total=4000, stream=stream, clock=clock) as progress:
        for number in (1000, 2000, 3000):
            clock.now += 0.06
            progress(number)
    line = "2,000 of 4,000 tasks cancelled"
    assert stream.getvalue() == f"\r{line}\r{' ' * len(line)}\r"


def test_elsewhere_there_is_a_line_every_five_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressLine("tasks cancelled", stream=stream, clock=clock) as progress:
        for number in range(1, 13):
            clock.now += 1
            progress(number * 1000)
    assert stream.getvalue() == "5,000 tasks cancelled\n10,000 tasks cancelled\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, LookupError])
def test_an_interruption_tells_what_is_done(error: type[BaseException]) -> None:
    stream = io.StringIO()
    with pytest.raises(error), ProgressLine("dead tasks retried", total=9000, stream=stream) as progress:  # noqa: PT012
        progress(3000)
        raise error
    assert stream.getvalue() == (
        "pgsched: interrupted: 3,000 of 9,000 dead tasks retried; run the command again to continue\n"
    )
