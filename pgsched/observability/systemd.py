"""Notifies a service manager of this process's state, by systemd's notification protocol.

The protocol is described in sd_notify(3) and sd_watchdog_enabled(3)
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html): datagrams of ``NAME=value`` lines to the unix
socket that ``NOTIFY_SOCKET`` names, a path or, with ``@`` in front, a name of Linux's abstract namespace. A manager
that expects ``WATCHDOG=1`` sets the maximum interval in ``WATCHDOG_USEC`` and the expected process in ``WATCHDOG_PID``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from pgsched.domain.errors import ConfigError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.notify")

SEND_SECONDS = 1.0
"""How long to wait for a manager that does not read."""
MAX_STATUS = 200
"""Maximum length of a status line."""


class Manager:
    """The service manager that started this process."""

    def __init__(self, *, address: str, watchdog: float | None) -> None:
        """``address`` is the value of ``NOTIFY_SOCKET``; ``watchdog`` the seconds of WatchdogSec, None without it."""
        self.watchdog = watchdog
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.refused = False
        """Whether the service manager has stopped accepting messages; logged once, until it accepts one again."""

    def ready(self) -> None:
        """Report that the service is ready."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the service is shutting down."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Report progress; after ``watchdog`` seconds without it the manager restarts the service."""
        self._send("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send("STATUS=" + " ".join(line.split())[:MAX_STATUS])

    def _send(self, message: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(SEND_SECONDS)
                link.sendto(message.encode(errors="backslashreplace"), self._address)
            self.refused = False
        except (OSError, ValueError) as error:  # a ValueError for a malformed address
            if not self.refused:  # only once
                log.warning("not_notified", message=message.partition("=")[0], error=str(error))
            self.refused = True


def find_manager(environment: MutableMapping[str, str]) -> Manager | None:
    """Return the manager that started this process, or None. Removes its variables from the ``environment``.

    That way no child process or task command can notify in our name. Raises ConfigError for invalid variables.
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    interval = environment.pop("WATCHDOG_USEC", "")
    wanted_of = environment.pop("WATCHDOG_PID", "")
    if not address:
        return None
    if address[0] not in "/@" or len(address) < 2:
        raise ConfigError(f"NOTIFY_SOCKET must be a path, or a name that starts with @, got {address!r}")
    if interval and (not interval.isascii() or not interval.isdecimal() or int(interval) == 0):
        raise ConfigError(f"WATCHDOG_USEC must be a whole number of microseconds above 0, got {interval!r}")
    meant = not wanted_of or wanted_of == str(os.getpid())
    return Manager(address=address, watchdog=int(interval) / 1e6 if interval and meant else None)
