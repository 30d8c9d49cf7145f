"""Primitives that differ in threads: the blocking counterpart of :mod:`pgsched.concurrency.async_primitives`."""

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
    """Runs a function in the background, in a thread that does not keep the process from exiting."""

    def __init__(self, function: Callable[[], None], *, name: str) -> None:
        super().__init__(target=function, name=name, daemon=True)
        self.start()


def uninterrupted(function: Callable[[], T]) -> T:
    """Call a function: a thread cannot be cancelled."""
    return function()


def run_blocking(function: Callable[..., T], *args: Any) -> T:
    """Call a blocking function: a thread may block."""
    return function(*args)


def run_stoppable(function: Callable[[threading.Event], T]) -> T:
    """Call a function with an event that would stop it: nothing ever sets it here."""
    return function(threading.Event())
