"""Uniqueness of tasks: the rule that ``pgsched.schedule_unique`` enforces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pgsched.domain.errors import Described, InvalidTask
from pgsched.domain.interval import Interval
from pgsched.domain.task_filters import STATUSES
from pgsched.domain.validation import Duration, duration, interval_of, list_of, one_of, refused, text

_PART: Final = re.compile(r"queue|payload(\..+)?", re.DOTALL)
_period = duration(Interval(microseconds=1), least="1 microsecond")


def _part(field: str, value: object) -> str:
    found = text(field, value)
    if not _PART.fullmatch(found):
        raise refused(field, "be queue, payload or payload.KEY", found)
    return found


_parts = list_of(_part, "texts")
_states = list_of(one_of(*STATUSES), "statuses")


@dataclass(frozen=True, kw_only=True)
class Unique:
    """Creates no task while a matching one exists: that one is returned, or ``on_conflict`` decides what happens to it.

    By default a task blocks others while it waits or runs. Raises InvalidTask, naming field, rule and value.
    """

    by: Sequence[str] | None = None
    """What makes two tasks of a type match: ``payload`` (the default), ``payload.KEY``, ``queue``. An
    ``idempotency_key``, where there is one, replaces all of them."""
    within: Duration | None = None
    """A task also blocks others for this long after its creation, whatever its state, unless it was cancelled."""
    states: Sequence[str] | None = None
    """The statuses in which it blocks others; pending, blocked and running."""
    debounce: Duration | None = None
    """It starts this long after the last call: each call postpones a task that has not started, and updates it."""
    max_wait: Duration | None = None
    """With ``debounce``: it starts at the latest this long after the first call."""
    _parameters: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field by itself, then the fields that exclude or require each other."""
        periods = {
            name: None if value is None else _period(name, value)
            for name in ("within", "debounce", "max_wait")
            for value in (getattr(self, name),)
        }
        by = None if self.by is None else _parts("by", self.by)
        states = None if self.states is None else _states("states", self.states)
        if by == []:
            raise refused("by", "name queue, payload or payload.KEY", Described("nothing"))
        if states == [] and self.within is None:
            raise refused("states", "name one where there is no within", Described("nothing"))
        if self.debounce is None:
            if self.max_wait is not None:
                raise InvalidTask(
                    "needs debounce", field="max_wait", value=Described(f"max_wait {self.max_wait} alone")
                )
        elif self.within is not None or self.states is not None:
            raise InvalidTask("excludes within and states", field="debounce")
        elif self.max_wait is not None and (
            interval_of("max_wait", self.max_wait).seconds < interval_of("debounce", self.debounce).seconds
        ):
            raise refused("max_wait", "not be less than debounce", Described(f"{self.max_wait} and {self.debounce}"))
        object.__setattr__(self, "_parameters", {"by": by, "states": states, **periods})

    def parameters(self) -> Mapping[str, Any]:
        """Return the arguments for the SQL function ``schedule_unique`` (called by pgsched)."""
        return self._parameters
