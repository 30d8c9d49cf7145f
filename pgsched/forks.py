"""What becomes of a process that a handler forked and that comes back from the handler.

It is a copy of the worker: going on, it would run the same tasks and talk to PostgreSQL on the same sockets. So it ends
as soon as the handler returns, raises or waits in it. A copy that ends by itself, or becomes another program, is left
alone.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import NoReturn

generation = 0
"""How many forks are behind this process. An attempt that ends in another generation than it began in is a copy."""

_COPY_RETURNED = 70
"""The exit code of a copy that did not end by itself: EX_SOFTWARE."""


def _copied() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_copied)


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, a copy, without any of the cleaning up that is the worker's: with the code of a SystemExit."""
    code = _COPY_RETURNED
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        with suppress(OSError, ValueError):
            told = select.poll()
            told.register(2, select.POLLOUT)
            if told.poll(0):  # nobody may be reading, and the copy must end
                os.write(2, b"pgsched: a process that a handler forked came back from the handler: it was ended\n")
    os._exit(code & 0xFF)
