"""Somebody who looks at the dashboard all the time, and somebody who follows the events."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import httpx

PAGES = (
    "/",
    "/tasks",
    "/queues",
    "/workers",
    "/schedules",
    "/workflows",
    "/executions",
    "/types",
    "/errors",
    "/api/v1/tasks",
)
PAUSE_SECONDS = 0.5


class Visitors:
    """Two threads that read until the block ends."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._browse, self._follow)]
        self.pages = self.events = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _browse(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while True:
                for path in PAGES:
                    if self._over.wait(PAUSE_SECONDS):
                        return
                    try:
                        answer = client.get(path)
                    except httpx.HTTPError as error:
                        self.failures.append(f"{path}: {error!r}")
                        continue
                    if answer.status_code != 200:
                        self.failures.append(f"{path} answers {answer.status_code}")
                    self.pages += 1

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                with httpx.stream("GET", f"{self._address}/api/v1/events", timeout=5) as answer:
                    for line in answer.iter_lines():
                        self.events += line.startswith("event:")
                        if self._over.is_set():
                            return
            except httpx.ReadTimeout:
                continue
            except httpx.HTTPError as error:
                self.failures.append(f"the event stream: {error!r}")
                self._over.wait(1)
