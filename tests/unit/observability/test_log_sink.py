"""Log lines go out through a thread of their own: whatever becomes of their reader, nobody waits and nobody fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgsched.observability import log_sink
from pgsched.observability.log_sink import Sink
from tests.support.waiting import wait_until


class Lost:
    """Counts what was lost."""

    def __init__(self) -> None:
        self.lines = 0

    def __call__(self, lines: int) -> None:
        self.lines += lines


def made(descriptor: int, lost: Lost) -> Sink:
    return Sink(descriptor, on_lost=lost, tell_lost=lambda lines: f"{lines} were lost\n".encode())


@contextmanager
def piped() -> Iterator[tuple[int, Sink, Lost]]:
    """The end of a pipe that is read, and a sink that writes into the other."""
    reading, writing = os.pipe()
    lost = Lost()
    one = made(writing, lost)
    os.close(writing)
    yield reading, one, lost
    one.close()


def test_lines_come_in_their_order() -> None:
    with piped() as (reading, one, lost):
        for number in range(1000):
            one.put(f"{number}\n".encode())
        assert one.flush(10)
        assert os.read(reading, 65536).split() == [str(number).encode() for number in range(1000)]
        assert lost.lines == 0
        os.close(reading)


def test_a_line_is_written_whose_original_descriptor_was_closed_and_given_away(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    one = made(writing, Lost())
    os.close(writing)
    taken = os.open(tmp_path / "another", os.O_CREAT | os.O_WRONLY)
    assert taken == writing
    one.put(b"here\n")
    assert one.flush(10)
    assert os.read(reading, 100) == b"here\n"
    one.close()
    os.close(taken)
    assert (tmp_path / "another").read_bytes() == b""


def test_a_reader_that_died_is_no_error_and_what_was_lost_is_counted() -> None:
    with piped() as (reading, one, lost):
        os.close(reading)
        for _ in range(3):
            one.put(b"to nobody\n")
            assert one.flush(10)
        assert lost.lines == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_no_error_and_what_was_lost_is_counted() -> None:
    full, lost = os.open("/dev/full", os.O_WRONLY), Lost()
    one = made(full, lost)
    one.put(b"does not fit\n")
    assert one.flush(10)
    assert lost.lines == 1
    one.close()
    os.close(full)


def test_nobody_waits_for_a_reader_that_does_not_read_and_it_learns_how_much_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_sink, "MAX_WAITING", 100)
    line = b"x" * 1023 + b"\n"
    with piped() as (reading, one, lost):
        for _ in range(300):  # 64 are in the pipe, 100 wait
            one.put(line)
        assert not one.flush(0.05)
        assert lost.lines > 0
        os.set_blocking(reading, False)
        seen = bytearray()

        def read() -> bool:
            try:
                seen.extend(os.read(reading, 1 << 20))
            except BlockingIOError:
                one.put(b"again\n")
            told = re.findall(rb"(\d+) were lost\n", bytes(seen))
            return b"again\n" in seen and sum(map(int, told)) == lost.lines

        wait_until(read, message="lines go out again, and say how many did not")
        os.close(reading)


def test_lines_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sink, "MAX_WAITING_BYTES", 1 << 20)
    with piped() as (reading, one, lost):
        for _ in range(20):
            one.put(b"x" * (1 << 17))
        assert lost.lines >= 20 - 8
        os.close(reading)


def test_a_file_that_does_not_block_is_waited_for_by_the_thread_alone() -> None:
    with piped() as (reading, one, lost):
        os.set_blocking(one.descriptor, False)
        for _ in range(100):
            one.put(b"x" * 4096)
        assert not one.flush(0.05)
        seen = 0
        while seen < 100 * 4096:
            seen += len(os.read(reading, 65536))
        assert one.flush(10)
        assert lost.lines == 0
        os.close(reading)


def test_a_forked_copy_writes_its_own_lines_and_no_other() -> None:
    with piped() as (reading, one, _lost):
        blocked = b"x" * (1 << 17)
        one.put(blocked)  # more than a pipe holds: the thread stands in the middle of it
        one.put(b"of the original\n")
        other_reading, other_writing = os.pipe()
        with one.counting:  # as another thread might, at the moment of the fork
            pid = os.fork()
        if pid == 0:
            os.dup2(other_writing, one.descriptor)
            one.begin()
            one.put(b"of the copy\n")
            os._exit(0 if one.flush(10) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(other_reading, 100) == b"of the copy\n"
        seen = b""
        while not seen.endswith(b"of the original\n"):
            seen += os.read(reading, 65536)
        assert seen.count(b"of the original\n") == 1
        os.close(reading)
