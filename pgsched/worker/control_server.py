"""The child's side of a worker process: its parent asks how it is and what it has counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

_WITHOUT_ANSWER = {"metrics": "", "load": "0 0"}
"""The reply to a question that failed, where a line about the failure would not be understood."""


class ControlServer:
    """Answers ``metrics``, ``healthy`` and others in a thread that no handler can block."""

    def __init__(
        self,
        *,
        pipe: Connection,
        metrics: CollectorRegistry,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
        troubles: Callable[[], list[dict[str, Any]]],
        alive: Callable[[], str | None],
        load: Callable[[], tuple[int, int]],
        on_orphaned: Callable[[], None],
    ) -> None:
        self._pipe = pipe
        self._answers: dict[str, Callable[[], str]] = {
            "metrics": lambda: generate_latest(metrics).decode(),
            "healthy": lambda: healthy() or "",
            "ready": lambda: ready() or "",
            "troubles": lambda: json.dumps(troubles()),
            "alive": lambda: alive() or "",
            "load": lambda: "{} {}".format(*load()),
        }
        self._on_orphaned = on_orphaned

    def start(self) -> None:
        """Answer from now on, until the parent is gone."""
        threading.Thread(target=self._run, name="pgsched-answers", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._pipe.send(self._answer(self._pipe.recv()))
        except (EOFError, OSError):
            self._on_orphaned()

    def _answer(self, question: str) -> str:
        try:
            return self._answers[question]()
        except Exception as error:
            log.exception("answer_failed", question=question)
            return _WITHOUT_ANSWER.get(question, f"{type(error).__name__}: it cannot be told")
