"""The terminal of ``pgsched top``: raw input, the alternate screen, and their restoration however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from rich.console import Console, RenderableType

from pgsched.cli.session import handling

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
"""Switch to the alternate screen and hide the cursor; LEAVE undoes both."""
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
ESCAPES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[Z": "back-tab",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\t": "tab",
    "\x03": "ctrl-c",
}
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)
ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def keys_of(text: str) -> list[str]:
    """Return the names of the pressed keys; letters stand for themselves."""
    return [ESCAPES.get(found, found) for found in _KEY.findall(text) if found in ESCAPES or len(found) == 1]


class Terminal:
    """The controlling terminal, in raw mode inside :meth:`taken`."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.ended_by: int | None = None
        """The signal that asks the program to end."""

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Switch to raw mode, in which Ctrl-C is a key too; the terminal is restored however the block ends."""
        before = termios.tcgetattr(self._in)
        ours: list[Any] = termios.tcgetattr(self._in)
        ours[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        with handling(self._end, *ENDINGS), handling(lambda *_: None, signal.SIGWINCH):
            old_wake = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
            try:
                termios.tcsetattr(self._in, termios.TCSADRAIN, ours)
                self._write(ENTER)
                yield
            finally:
                signal.set_wakeup_fd(old_wake)
                termios.tcsetattr(self._in, termios.TCSADRAIN, before)
                with contextlib.suppress(OSError):  # the terminal may be gone
                    self._write(LEAVE)
                os.close(self._wake_read)
                os.close(self._wake_write)

    def size(self) -> tuple[int, int]:
        """Return columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return max(columns, 20), max(lines, 5)

    def wake(self) -> None:
        """Interrupt :meth:`wait`, from any thread."""
        with contextlib.suppress(BlockingIOError, OSError):  # the pipe is full or closed: it is awake or has ended
            os.write(self._wake_write, b"\0")

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys, :meth:`wake` or a signal; return the keys."""
        ready, _, _ = select.select([self._in, self._wake_read], [], [], max(seconds, 0.0))
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if self._in not in ready:
            return []
        read = os.read(self._in, 4096)
        return keys_of(read.decode("utf-8", "replace")) if read else ["q"]  # end of input

    def show(self, picture: RenderableType) -> None:
        """Redraw the screen."""
        columns, lines = self.size()
        console = Console(
            file=sys.stdout, width=columns, height=lines, force_terminal=True, legacy_windows=False, highlight=False
        )
        with console.capture() as captured:
            console.print(picture, end="")
        drawn = captured.get().split("\n")[:lines]
        self._write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in drawn) + "\x1b[J")

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.ended_by = number
