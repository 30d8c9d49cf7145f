"""Several worker processes under one parent, which polls them through a pipe, sums up their metrics and ends
unhealthy ones.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from pgsched.observability.label_sets import LINGER_SECONDS, MOST_SERIES, OTHER
from pgsched.observability.logs import get_logger
from pgsched.worker.http_server import Probe, Told
from pgsched.worker.metrics import log_errors
from pgsched.worker.served_shards import label

log = get_logger("pgsched.worker")

ANSWER_SECONDS = 5.0
"""How long a child may take to answer; a scrape shows the last known counts of one that does not."""
LOOK_SECONDS = 1.0
"""The same for frequent questions."""
SHORT_LOOK_SECONDS = 0.2
"""The same for a process of one of several shards that has not answered yet: its database may be down."""
STARTING_SECONDS = 600.0
"""How long a new child, which may have much to import, need not answer frequent questions."""
EVERY_SECONDS = 5.0
"""How often the health of each child is checked."""
KILL_SECONDS = 5.0
"""A child that has not ended this long after its own shutdown timeout is killed; it may take this long to die."""
_COUNTING = ("counter", "histogram")
"""Metric families that only grow."""
_MERGES = {"pgsched_listener_connected": min, "pgsched_unwritten_outcome_age_seconds": max}
"""Gauges for which the worst process stands for all; all others are summed up."""
_NAMES = ("task_type", "queue")
"""Labels whose values users choose; all others have few values."""
_WITHOUT_ANSWER = {"metrics": "", "load": "0 0"}
"""The reply to a question that failed, where a message about the failure would not be understood."""

Labels = tuple[tuple[str, str], ...]


class _Seen(NamedTuple):
    total: float
    since: float
    own: bool
    """Metrics that have series of their own."""


_ALONE = _Seen(0.0, 0.0, own=True)


class Child:
    """The parent's side of one child, which may have replaced others that died.

    The counts of those are added to its own, so that the place looks like one continuous process to a scraper. It would
    take a counter that decreased for a restarted one, and count everything before twice.
    """

    def __init__(
        self, process: BaseProcess, pipe: Connection, *, before: Sequence[Metric] = (), shard: str = ""
    ) -> None:
        """``shard`` is a label of its metrics, if there are several."""
        self.process = process
        self.shard = shard
        self.pipe = pipe
        self._before = before
        self._said: list[Metric] = []
        self._lock = threading.RLock()
        self._unanswered = 0
        self._born = monotonic()
        self._answered = self._gone = False

    @property
    def must_answer(self) -> bool:
        """Whether silence is a problem: not for a child that ended and will be restarted, or that is just starting."""
        return not self._gone and (self._answered or monotonic() - self._born > STARTING_SECONDS)

    def ask(self, question: str, seconds: float = ANSWER_SECONDS) -> str | None:
        """Return the child's answer, None when it does not answer in time."""
        if self.shard and not self._answered:
            seconds = min(seconds, SHORT_LOOK_SECONDS)
        with self._lock:
            try:
                # Answers to abandoned questions arrive first and are discarded.
                self.pipe.send(question)
                self._unanswered += 1
                while self.pipe.poll(seconds):
                    answer: str = self.pipe.recv()
                    self._unanswered -= 1
                    self._answered = True
                    if not self._unanswered:
                        return answer
            except (EOFError, OSError):
                self._gone = True
            return None

    def metrics(self) -> list[Metric]:
        """Return the families of this place. A child that does not answer counts with its last known values."""
        with self._lock:  # a later answer must not be replaced by an earlier one
            text = self.ask("metrics")
            if text is None:
                return self._counted()
            said = list(text_string_to_metric_families(text))
            if self.shard:
                said = label(said, self.shard)
            # What the child dropped had still been counted: a decreasing sum would be read as a restart.
            self._before = _add_up([*self._before, *_missing(said, _counting(self._said))])
            self._said = said
            return _add_up([*self._said, *self._before])

    def let_go(self, names: Collection[Labels]) -> None:
        """Forget the values that were kept under these labels."""
        with self._lock:
            for family in self._before:
                family.samples = [sample for sample in family.samples if _labels(sample) not in names]

    def retire(self) -> list[Metric]:
        """Stop asking a child that has ended; returns the counts of its place, for its successor."""
        with self._lock:
            self.pipe.close()
            return self._counted()

    def _counted(self) -> list[Metric]:
        return _add_up([*_counting(self._said), *self._before])


class MergedMetrics(Collector):
    """The children's families, summed up sample by sample, with the same bounds as those of one process."""

    def __init__(self, children: Callable[[], list[Child]], *, clock: Callable[[], float] = monotonic) -> None:
        self._children = children
        self._clock = clock
        self._seen: dict[Labels, _Seen] = {}

    def collect(self) -> Iterable[Metric]:
        """Return the families that ``/metrics`` shows."""
        children = self._children()
        merged = _add_up(family for child in children for family in child.metrics())
        return _add_up((*self._bounded(merged, children), log_errors()))  # the parent logs as well

    def _bounded(self, merged: list[Metric], children: list[Child]) -> list[Metric]:
        """Drop labels under which nothing was counted for long, and merge those that exceed the bound.

        Labels keep their first place: if they moved, both sums would be read as restarted.
        """
        now = self._clock()
        totals: dict[Labels, float] = {}
        for family in _counting(merged):
            for sample in family.samples:
                if sample.name.endswith(("_total", "_count")) and _labels(sample):
                    totals[_labels(sample)] = totals.get(_labels(sample), 0.0) + sample.value
        gone = set()
        for labels, total in totals.items():
            seen = self._seen.get(labels)
            if seen is None:
                kinds = tuple(name for name, _ in labels)
                own = sum(one.own and tuple(name for name, _ in other) == kinds for other, one in self._seen.items())
                self._seen[labels] = _Seen(total, now, own < MOST_SERIES)
            elif seen.total != total:
                self._seen[labels] = seen._replace(total=total, since=now)
            elif now - seen.since >= LINGER_SECONDS:
                gone.add(labels)
        self._seen = {labels: seen for labels, seen in self._seen.items() if labels in totals}
        for child in children:
            child.let_go(gone)
        for family in _counting(merged):
            family.samples = [
                sample if self._seen.get(_labels(sample), _ALONE).own else _as_other(sample)
                for sample in family.samples
                if _labels(sample) not in gone
            ]
        return _add_up(merged)


def _counting(families: Iterable[Metric]) -> Iterator[Metric]:
    return (family for family in families if family.type in _COUNTING)


def _labels(sample: Sample) -> Labels:
    """Return the task type and queue of a sample; empty for a sample about the whole worker."""
    return tuple((name, value) for name, value in sample.labels.items() if name in _NAMES)


def _as_other(sample: Sample) -> Sample:
    return sample._replace(labels={name: OTHER if name in _NAMES else value for name, value in sample.labels.items()})


def _missing(said: Iterable[Metric], before: Iterable[Metric]) -> Iterator[Metric]:
    """Return the samples of families that are no longer reported."""
    there = {(sample.name, tuple(sample.labels.items())) for family in said for sample in family.samples}
    for family in before:
        left = [one for one in family.samples if (one.name, tuple(one.labels.items())) not in there]
        if left:
            kept = Metric(family.name, family.documentation, family.type)
            kept.samples = left
            yield kept


def _add_up(parts: Iterable[Metric]) -> list[Metric]:
    """Return one family of each name."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, Labels], list[float]]] = {}
    for part in parts:
        families.setdefault(part.name, part)
        said = values.setdefault(part.name, {})
        for sample in part.samples:
            said.setdefault((sample.name, tuple(sample.labels.items())), []).append(sample.value)
    merged = []
    for name, family in families.items():
        one = Metric(family.name, family.documentation, family.type)
        merge = _MERGES.get(name, sum)
        for (sample_name, labels), numbers in values[name].items():
            one.add_sample(sample_name, dict(labels), merge(numbers))
        merged.append(one)
    return merged


def first_problem(
    children: list[Child], question: str, *, but: Callable[[Child], bool] | None = None, often: bool = False
) -> str | None:
    """Return the first child's problem, None when every child, except ``but``, reports none.

    ``often`` shortens the wait, and skips children that are starting or have ended.
    """
    for number, child in enumerate(children):
        if but is not None and but(child):
            continue
        answer = child.ask(question, LOOK_SECONDS if often else ANSWER_SECONDS)
        if answer is None and (child.must_answer or not often):
            return f"process {number} does not answer"
        if answer:
            return f"process {number}: {answer}"
    return None


def all_troubles(children: list[Child]) -> list[dict[str, Any]]:
    """Return the troubles of all children, each with the number of its process."""
    answers = [child.ask("troubles", LOOK_SECONDS) for child in children]
    return [
        {"process": number, **trouble}
        for number, answer in enumerate(answers)
        for trouble in (json.loads(answer) if answer else ())
    ]


def load_of(children: list[Child]) -> tuple[int, int]:
    """Return the occupied and the available slots of all children."""
    answers = [child.ask("load", LOOK_SECONDS) for child in children]
    loads = [tuple(map(int, answer.split())) for answer in answers if answer]
    return sum(load[0] for load in loads), sum(load[1] for load in loads)


class Mender:
    """Checks the health of children: SIGTERM for an unhealthy one, SIGKILL when it has not ended in time."""

    def __init__(self, *, silence: float, stop: float, clock: Callable[[], float] = monotonic) -> None:
        """A child may be silent for ``silence`` seconds, and take ``stop`` seconds to shut down."""
        self._silence = silence
        self._stop = stop
        self._clock = clock
        self._look_at = 0.0
        self._silent: WeakKeyDictionary[Child, float] = WeakKeyDictionary()
        self._kill_at: WeakKeyDictionary[Child, float] = WeakKeyDictionary()

    def mending(self, child: Child) -> bool:
        """Whether a child was asked to end and may still do so, so that others need not act."""
        kill_at = self._kill_at.get(child)
        return kill_at is not None and self._clock() < kill_at + KILL_SECONDS

    def run_once(self, children: Sequence[Child]) -> None:
        """Check all of them, if it is time."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + EVERY_SECONDS
        for number, child in enumerate(children):
            process = child.process
            if not process.is_alive():
                continue
            if (kill_at := self._kill_at.get(child)) is not None:
                if now >= kill_at:
                    process.kill()
                continue
            problem = self._problem(child)
            if problem:
                log.error("process_unwell", number=number, pid=process.pid, reason=problem)
                self._kill_at[child] = now + self._stop + KILL_SECONDS
                process.terminate()

    def _problem(self, child: Child) -> str | None:
        if not child.must_answer:  # it was just started and is not waited for
            return None
        answer = child.ask("healthy", LOOK_SECONDS)
        if answer is not None:
            self._silent.pop(child, None)
            return answer
        now = self._clock()
        silent = now - self._silent.setdefault(child, now)
        return f"it has not answered for {silent:.0f} s" if silent > self._silence else None


@dataclass(kw_only=True, eq=False, repr=False)
class ControlServer:
    """The child's side: answers its parent from a thread that no handler can block."""

    pipe: Connection
    metrics: CollectorRegistry
    healthy: Probe
    ready: Probe
    alive: Probe
    troubles: Told
    load: Callable[[], tuple[int, int]]
    on_orphaned: Callable[[], None]

    def start(self) -> None:
        """Answer until the parent is gone."""
        threading.Thread(target=self._run, name="pgsched-answers", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self.pipe.send(self._answer(self.pipe.recv()))
        except (EOFError, OSError):
            self.on_orphaned()

    def _answer(self, question: str) -> str:
        probes = {"healthy": self.healthy, "ready": self.ready, "alive": self.alive}
        try:
            match question:
                case "metrics":
                    return generate_latest(self.metrics).decode()
                case "troubles":
                    return json.dumps(self.troubles())
                case "load":
                    return "{} {}".format(*self.load())
            return probes[question]() or ""
        except Exception as error:
            log.exception("answer_failed", question=question)
            return _WITHOUT_ANSWER.get(question, f"{type(error).__name__}: it cannot be told")
