"""What has to be done in another way in threads: as :mod:`pgsched.concurrency.async_primitives`, not to be awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import Event
from time import sleep
from typing import Any, TypeVar

__all__ = ["Background", "Event", "Mutex", "run_blocking", "run_stoppable", "sleep", "uninterrupted"]

T = TypeVar("T")

Mutex = threading.Lock


class Background(threading.Thread):
    """Runs a function beside its caller, in a thread that does not keep the process from ending."""

    def __init__(self, function: Callable[[], None], *, name: str) -> None:
        super().__init__(target=function, name=name, daemon=True)
        self.start()


def uninterrupted(function: Callable[[], T]) -> T:
    """Call a function: nobody can cancel a thread."""
    return function()


def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Call a function that blocks: it may."""
    return function(*args)


def run_stoppable(function: Callable[[threading.Event], T]) -> T:
    """Call a function that takes an event which would stop it: nobody sets it."""
    return function(threading.Event())
