"""A service manager's end of the notification protocol: notes what it is told."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from tests.support.waiting import wait_until


class NotifySocket:
    """What came so far, in order. ``environment`` is what a manager gives to the service it starts."""

    def __init__(self, link: socket.socket, address: str) -> None:
        self.address = address
        self.messages: list[str] = []
        self._link = link
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def environment(self, *, watchdog: float | None = None, pid: int | None = None) -> dict[str, str]:
        given = {"NOTIFY_SOCKET": self.address}
        if watchdog is not None:
            given["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
        if pid is not None:
            given["WATCHDOG_PID"] = str(pid)
        return given

    @property
    def beats(self) -> int:
        return self.messages.count("WATCHDOG=1")

    def wait_for(self, message: str, *, timeout: float = 20) -> None:
        wait_until(lambda: message in self.messages, timeout=timeout, message=f"{message} comes, after {self.messages}")

    def wait_for_beats(self, more: int) -> None:
        wanted = self.beats + more
        wait_until(lambda: self.beats >= wanted, message=f"{more} more beats come")

    def beats_within(self, seconds: float) -> int:
        """How many come in that time, which is waited for: that something does not come takes time to see."""
        before, until = self.beats, monotonic() + seconds
        wait_until(lambda: monotonic() >= until, timeout=seconds + 5, message="the time is over")
        return self.beats - before

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RD)
        self._thread.join(5)
        self._link.close()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._link.recv(4096):
                self.messages.append(data.decode())


@contextlib.contextmanager
def notify_socket(path: Path | None = None) -> Iterator[NotifySocket]:
    """Listen at a path, or at a name of the abstract namespace as systemd does for units with a mount namespace."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if path is None:
        link.bind(b"\0pgsched-test-" + os.urandom(8).hex().encode())
        address = "@" + link.getsockname()[1:].decode()
    else:
        link.bind(str(path))
        address = str(path)
    manager = NotifySocket(link, address)
    try:
        yield manager
    finally:
        manager.close()
