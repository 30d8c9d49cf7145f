"""Handles forks: which process is a copy of another one, and what such a copy may use.

A copy has its parent's memory, but only the thread that forked, and its sockets are the parent's: two processes on one
socket read each other's responses. So in the copy every connection of ours is cut off without a message to the server,
and every object with connections or locks starts afresh.

A copy of a worker that returned from the handler that forked it would run the same tasks as the worker. It is ended as
soon as the handler returns, raises or waits in it. A copy that exits by itself, or becomes another program, is left
alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NoReturn, Protocol
from weakref import WeakSet

generation = 0
"""Number of forks that led to this process. An attempt that ends in another generation than it started in is a copy."""

_COPY_RETURNED = 70
"""The exit code of a copy that did not exit by itself: EX_SOFTWARE."""


class Copied(Protocol):
    """An object that a copy of the process cannot use as it is."""

    def begin_afresh(self) -> None:
        """Drop the parent's connections, threads and locks without touching them; called in the copy."""


_copied: WeakSet[Copied] = WeakSet()
_pid = os.getpid()


def watch(thing: Copied) -> None:
    """Register an object to start afresh in every copy of this process."""
    _copied.add(thing)


def current() -> int:
    """Return the generation, even if this process was forked without Python's knowledge, as by a server in C."""
    if os.getpid() != _pid:
        _begin_afresh()
    return generation


def cut_off(descriptor: int) -> None:
    """Replace a descriptor by one without a peer: writes are lost, reads return the end of the file.

    Its number stays taken: code that still has it must not reach another connection.
    """
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(nothing, descriptor, inheritable=False)
        finally:
            os.close(nothing)


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, a copy, without the worker's cleanup: with the code of a SystemExit."""
    code = _COPY_RETURNED
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        os.write(2, b"pgsched: a process that a handler forked came back from the handler: it was ended\n")
    os._exit(code & 0xFF)


def _begin_afresh() -> None:
    global generation, _pid
    generation += 1
    _pid = os.getpid()
    for thing in list(_copied):
        thing.begin_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_begin_afresh)
