"""Handlers that misbehave in every way: see :mod:`chaos.load.misbehaviour`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from chaos.faults.model import Fault, Size
from chaos.faults.trial import Trial
from chaos.load.misbehaviour import NOT_JSON, RAISED

FORKS = ("exits", "raises", "returns", "waits")
Tasks = list[tuple[str, dict[str, object], str]]
"""Type, payload, and the status in the end."""


class HandlerExits(Fault):
    """A handler ends the worker's process."""

    name = "handler-exits"
    does = "Handlers call `os._exit`, on the event loop, in a thread and in a child process; the workers are restarted."
    injects = "exits"
    ends_workers = True

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 1 if trial.size.short else 10
        kinds = ["exits", "exits_plain", "exits_child"]
        ids: list[int] = []
        for _ in range(rounds):
            chance.shuffle(kinds)
            for kind in kinds:
                ids += trial.insert(kind)
                trial.pause(chance.uniform(0.1, 0.2 if trial.size.short else 0.8))
        trial.wait_until_ended(ids, timeout=60)
        return len(ids)

    def check(self, trial: Trial) -> Iterable[str]:
        if not trial.crew.deaths:
            yield "no worker ended: the trial shows nothing"


class HandlerMisbehaves(Fault):
    """Whatever else a handler must not do."""

    name = "handler-misbehaves"
    does = (
        "Handlers exhaust memory, fork (and let the child return), block the event loop for longer than a lease, raise"
        " KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError, MemoryError and RecursionError, exceed their"
        " timeout, and return values that JSON cannot represent."
    )
    injects = "misdeeds"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        tasks = misdeeds(trial.size) * (1 if trial.size.short else 4)
        chance.shuffle(tasks)
        ids: list[int] = []
        for kind, payload, ends in tasks:
            ids += trial.insert(kind, payload=json.dumps(payload), ends=ends)
            trial.pause(chance.uniform(0.0, 0.04 if trial.size.short else 0.4))
        trial.wait_until_ended(ids, timeout=60)
        return len(ids)

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books:
            rows = books.execute(
                """
                -- Beside a handler that blocks the event loop for longer than a lease rows that were only locked run
                -- again: attempts that do not count.
                select t.task_type, t.payload, t.status,
                  array_agg(e.status order by e.fencing_token) filter (where e.attempt > 0) as executions
                from pgsched.tasks t join pgsched.executions e on e.task_id = t.id
                where t.task_type = any(%s) group by t.id
                """,
                (["fills_memory", "raises", "raises_plain", "raises_child", "overstays"],),
            ).fetchall()
        for row in rows:
            first = "timed_out" if row["task_type"] == "overstays" else "failed"
            # A machine that has other work may lose the lease of the attempt that would have failed.
            ended = [one for one in row["executions"] if one != "lost"]
            if ended != [first, "completed"] and not (ended == ["completed"] and "lost" in row["executions"]):
                yield f"{row['task_type']} {row['payload']}: executions {row['executions']}"


def misdeeds(size: Size) -> Tasks:
    """One task for each of them."""
    tasks: Tasks = [("fills_memory", {}, "completed"), ("overstays", {}, "completed")]
    tasks += [("blocks", {"seconds": size.lease * (1.2 if size.short else 2)}, "completed")]
    tasks += [(kind, {"end": end}, "completed") for kind in ("forks", "forks_plain") for end in FORKS]
    tasks += [("forks_child", {"end": end}, "completed") for end in ("raises", "returns")]
    tasks += [(kind, {"error": error}, "completed") for kind in ("raises", "raises_plain") for error in RAISED]
    tasks += [("raises_child", {"error": error}, "completed") for error in ("SystemExit", "MemoryError")]
    tasks += [(kind, {"what": what}, "completed") for kind in ("returns", "returns_plain") for what in NOT_JSON]
    return tasks
