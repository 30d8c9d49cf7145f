"""What a fork means to us: who is a copy of another process, and what such a copy may use.

A copy has its parent's memory, but only the thread that forked, and its sockets are the parent's: two processes on one
of them read one another's answers. So in the copy every connection of ours is cut off without a word to the server, and
whatever holds connections or locks begins afresh.

A copy of a worker that comes back from the handler that forked it would run the same tasks as the worker. It ends as
soon as the handler returns, raises or waits in it. A copy that ends by itself, or becomes another program, is left
alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NoReturn, Protocol
from weakref import WeakSet

generation = 0
"""How many forks are behind this process. An attempt that ends in another generation than it began in is a copy."""

_COPY_RETURNED = 70
"""The exit code of a copy that did not end by itself: EX_SOFTWARE."""


class Copied(Protocol):
    """Something that a copy of the process cannot use as it is."""

    def begin_afresh(self) -> None:
        """Forget connections, threads and locks of the parent, and leave them alone; called in the copy."""


_copied: WeakSet[Copied] = WeakSet()
_pid = os.getpid()


def watch(thing: Copied) -> None:
    """Let something begin afresh in every copy of this process."""
    _copied.add(thing)


def current() -> int:
    """Return the generation, also where this process was forked without Python's knowing, as by a server in C."""
    if os.getpid() != _pid:
        _begin_afresh()
    return generation


def cut_off(descriptor: int) -> None:
    """Put an end of nothing in the place of a descriptor: what is written to it is lost, what is read has ended.

    Its number stays taken: whoever still knows it must not meet another connection there.
    """
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(nothing, descriptor, inheritable=False)
        finally:
            os.close(nothing)


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, a copy, without any of the cleaning up that is the worker's: with the code of a SystemExit."""
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
