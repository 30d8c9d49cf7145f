"""Several worker processes, one ``/metrics``: the parent asks its children and adds up what they say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

ANSWER_SECONDS = 5.0
"""How long a child may take to answer; one that does not is left out of a scrape and is not healthy."""


class Answering:
    """The child's side: answers ``metrics``, ``healthy`` and ``ready`` in a thread that no handler can block."""

    def __init__(
        self,
        *,
        pipe: Connection,
        metrics: CollectorRegistry,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
        on_orphaned: Callable[[], None],
    ) -> None:
        self._pipe = pipe
        self._answers: dict[str, Callable[[], str]] = {
            "metrics": lambda: generate_latest(metrics).decode(),
            "healthy": lambda: healthy() or "",
            "ready": lambda: ready() or "",
        }
        self._on_orphaned = on_orphaned

    def start(self) -> None:
        """Answer from now on, until the parent is gone."""
        threading.Thread(target=self._run, name="pgsched-answers", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._pipe.send(self._answers[self._pipe.recv()]())
        except (EOFError, OSError):
            self._on_orphaned()


class Child:
    """The parent's side of one child."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._unanswered = 0

    def ask(self, question: str) -> str | None:
        """Return the child's answer, None when it gives none in time."""
        with self._lock:
            try:
                # Answers to questions that were given up come first and are thrown away.
                self._pipe.send(question)
                self._unanswered += 1
                while self._pipe.poll(ANSWER_SECONDS):
                    answer: str = self._pipe.recv()
                    self._unanswered -= 1
                    if not self._unanswered:
                        return answer
            except (EOFError, OSError):
                return None
            return None


_TRUE_OF_ALL = {"pgsched_listener_connected"}
"""Gauges that are 1 while all is well: one process with less is what the whole shows."""


class MergedMetrics(Collector):
    """The children's families, added up sample by sample."""

    def __init__(self, children: Callable[[], list[Child]]) -> None:
        self._children = children

    def collect(self) -> Iterable[Metric]:
        """Return the families that ``/metrics`` shows."""
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
        for child in self._children():
            for family in text_string_to_metric_families(child.ask("metrics") or ""):
                families.setdefault(family.name, family)
                said = values.setdefault(family.name, {})
                for sample in family.samples:
                    key = (sample.name, tuple(sample.labels.items()))
                    said.setdefault(key, []).append(sample.value)
        for name, family in families.items():
            merged = Metric(family.name, family.documentation, family.type)
            merge = min if name in _TRUE_OF_ALL else sum
            for (sample_name, labels), numbers in values[name].items():
                merged.add_sample(sample_name, dict(labels), merge(numbers))
            yield merged


def first_problem(children: list[Child], question: str) -> str | None:
    """Return the first child's problem, None when every child says it has none."""
    for number, child in enumerate(children):
        answer = child.ask(question)
        if answer is None:
            return f"process {number} does not answer"
        if answer:
            return f"process {number}: {answer}"
    return None
