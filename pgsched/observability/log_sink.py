"""Writes log lines to a file descriptor from a background thread, so that logging never blocks.

If the reader died, the disk is full or the pipe is not read, lines are dropped and counted, and the program continues.
The queue is bounded; lines that do not fit are dropped, too. Once writing works again, a line reports how many were
lost.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic

MAX_WAITING = 10_000
"""Maximum number of queued lines."""
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Maximum size of the queued lines."""
CHUNK_BYTES = 64 * 1024
"""Approximate maximum size of one write."""


class Sink:
    """Takes lines from any thread; never blocks, never raises."""

    def __init__(self, descriptor: int, *, on_lost: Callable[[int], None], tell_lost: Callable[[int], bytes]) -> None:
        """``on_lost`` is called from any thread with the number of lost lines; ``tell_lost`` formats the line that
        reports them.
        """
        # A duplicate: a task's handler may close file descriptor 2, and the next socket would get its number.
        self.descriptor = os.dup(descriptor)
        self._on_lost = on_lost
        self._tell_lost = tell_lost
        self.begin()

    def begin(self) -> None:
        """Start empty and without a thread; also in a forked process, whose parent writes what was queued."""
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._waiting_bytes = 0
        self._unwritten = 0
        """Lines that are neither written nor lost yet; may be too high for a moment, never too low."""
        # Reentrant: the garbage collector may run anywhere, and with it a __del__ that logs.
        self.counting = threading.RLock()
        self._untold = 0

    def put(self, line: bytes) -> None:
        """Queue one line, including its line break."""
        with self.counting:
            fits = self._unwritten < MAX_WAITING and self._waiting_bytes + len(line) <= MAX_WAITING_BYTES
            if fits:
                self._unwritten += 1
                self._waiting_bytes += len(line)
            else:
                self._untold += 1
        if not fits:
            self._on_lost(1)
            return
        self._lines.put(line)
        if self._thread is None:
            self._start()

    def flush(self, seconds: float) -> bool:
        """Wait up to ``seconds`` until every line is written or lost; return whether it is."""
        deadline = monotonic() + seconds
        pause = threading.Event()
        while self._unwritten:
            if monotonic() >= deadline:
                return False
            pause.wait(0.005)
        return True

    def close(self) -> None:
        """Let the thread write what is queued, close the descriptor and end."""
        if self._thread is None:
            os.close(self.descriptor)
        else:
            self._lines.put(b"")

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, args=(self._lines,), name="pgsched-logs", daemon=True)
            with suppress(RuntimeError):  # no thread can be started now: the next line tries again
                thread.start()
                self._thread = thread

    def _run(self, lines: SimpleQueue[bytes]) -> None:
        # A task's handler may have restored SIGPIPE's default: here a closed pipe must raise an error.
        with suppress(AttributeError):  # not on Windows
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        while True:
            batch = [lines.get()]
            size = len(batch[0])
            with suppress(Empty):
                while size < CHUNK_BYTES and batch[-1]:
                    batch.append(lines.get_nowait())
                    size += len(batch[-1])
            ended = not batch[-1]
            batch = [line for line in batch if line]
            if batch:
                self._write_batch(batch)
            if ended:
                os.close(self.descriptor)
                return

    def _write_batch(self, batch: list[bytes]) -> None:
        try:
            if untold := self._untold:
                self._write(self._tell_lost(untold))
                with self.counting:
                    self._untold -= untold
            self._write(b"".join(batch))
        except Exception:  # noqa: BLE001 - whatever became of the file: the next line tries again
            with self.counting:
                self._untold += len(batch)
            self._on_lost(len(batch))
        finally:
            with self.counting:
                self._unwritten -= len(batch)
                self._waiting_bytes -= sum(map(len, batch))

    def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:  # another program made the file non-blocking
                writable = select.poll()
                writable.register(self.descriptor, select.POLLOUT)
                writable.poll()
