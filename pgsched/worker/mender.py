"""Ends child processes that are unwell, so that another one takes their place: what they have cannot mend itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from time import monotonic

from pgsched.observability.logs import get_logger
from pgsched.worker.merged_metrics import LOOK_SECONDS, Child

log = get_logger("pgsched.worker")

EVERY_SECONDS = 5.0
"""How often each child is asked."""
KILL_SECONDS = 5.0
"""A child that has not ended so long after its own time limit for that is killed, and given so long to be gone."""

ChildProcess = tuple[BaseProcess, Child]


class Mender:
    """Asks children how they are: SIGTERM for one that is unwell, SIGKILL when it has not ended in time."""

    def __init__(self, *, silence: float, stop: float, clock: Callable[[], float] = monotonic) -> None:
        """A child may be silent for ``silence`` seconds, and take ``stop`` seconds to end in order."""
        self._silence = silence
        self._stop = stop
        self._clock = clock
        self._look_at = 0.0
        self._silent: dict[Child, float] = {}
        self._kill_at: dict[Child, float] = {}

    def mending(self, child: Child) -> bool:
        """Whether a child was told to end and may still do so: others need not care."""
        kill_at = self._kill_at.get(child)
        return kill_at is not None and self._clock() < kill_at + KILL_SECONDS

    def run_once(self, children: Sequence[ChildProcess]) -> None:
        """Ask all of them, if it is time for that; forget those that are gone."""
        now = self._clock()
        here = {child for _, child in children}
        for noted in (self._silent, self._kill_at):
            for child in noted.keys() - here:
                del noted[child]
        if now < self._look_at:
            return
        self._look_at = now + EVERY_SECONDS
        for number, (process, child) in enumerate(children):
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
        if not child.must_answer:  # it has just been started, and is not waited for
            return None
        answer = child.ask("healthy", LOOK_SECONDS)
        if answer is not None:
            self._silent.pop(child, None)
            return answer
        now = self._clock()
        silent = now - self._silent.setdefault(child, now)
        return f"it has not answered for {silent:.0f} s" if silent > self._silence else None
