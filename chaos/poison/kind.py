"""What a kind of poison is: how it is planted, what must become of its tasks, and who must name it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REFUSED, DEAD, SET_ASIDE, WAITS, COMPLETED = "refused", "dead", "set aside", "waits", "completed"
"""What may become of a poisoned task while the poison is there: its insert is refused; it is dead; a worker has set it
aside; it is untouched; it is completed. All but the third with the words that the kind asks for."""


async def victim() -> str:
    """A handler that is not to blame."""
    await asyncio.sleep(0.01)
    return "fine"


async def slow_victim() -> str:
    """The same, for what is to strike while it runs."""
    await asyncio.sleep(0.6)
    return "fine"


async def held_victim() -> str:
    """The same, for what must find it running on a busy machine, too."""
    await asyncio.sleep(4.0)
    return "fine"


@dataclass(frozen=True, kw_only=True)
class Act:
    """The action on the database in a separate session while tasks run."""

    statement: str
    """Its parameters: ``ids`` of the kind's tasks, ``role`` of the workers as text."""
    holds: float = 0.0
    """Seconds for which its transaction then stays open."""
    awaits: str = ""
    """A status of the kind's tasks to wait for before."""
    afterwards: str = ""
    """What takes it back ``seconds`` later."""
    seconds: float = 0.0
    ends_sessions: bool = False
    """All sessions of the workers are ended after it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of poison.

    Its texts may name ``{name}`` (its task_type), ``{mark}`` (its name), ``{role}`` (the workers').
    """

    name: str
    does: str
    """For the documentation: what is wrong, in a few words."""
    fates: tuple[str, ...] = (DEAD,)
    """The possible outcomes of its tasks while the poison is present."""
    words: str = ""
    """A part of the reason that they then have."""
    doctor: tuple[str, str] | None = None
    """The check that finds it, and a part of what that says; ``{name}`` is known there too."""
    handler: Callable[..., Any] = victim
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the handler."""
    payload: str = "{}"
    """JSON text."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Further columns of its tasks: SQL."""
    rows: int = 1
    """The fewest tasks of it."""
    tasks: str = ""
    """SQL that inserts its tasks and returns their ids, instead of the plain insert."""
    queue: str = ""
    """A separate queue for its tasks, with ``limits`` (JSON text) and ``ordering``."""
    limits: str = "{}"
    ordering: str = "fifo"
    companions: int = 0
    """Number of ordinary tasks in that queue, which must be completed."""
    before: tuple[str, ...] = ()
    """Statements of the owner before the tasks are inserted."""
    after: tuple[str, ...] = ()
    """And after they are, at once: they are not due yet."""
    undo: tuple[str, ...] = ()
    """And those that take the poison away."""
    act: Act | None = None
    odd_books: bool = False
    """Its history does not add up by its nature: it is not looked at in the end."""

    @property
    def task_type(self) -> str:
        """Each kind has its own handler."""
        return f"poison_{self.identifier}"

    @property
    def identifier(self) -> str:
        """The name as SQL and Python write it."""
        return self.name.replace("-", "_")

    def fill(self, text: str, *, role: str = "") -> str:
        """Put the names into a text."""
        for word, value in {"name": self.task_type, "mark": self.name, "role": role}.items():
            text = text.replace(f"{{{word}}}", value)
        return text


def trigger(
    kind_name: str,
    *,
    on: str = "pgsched.tasks",
    at: str = "before update",
    when: str = "true",
    body: str = "raise exception 'refused by a trigger of the user'",
    returns: str = "new",
    constraint: str = "",
) -> dict[str, tuple[str, ...]]:
    """The ``before`` and ``undo`` of a trigger of a user that strikes rows of a kind.

    ``when`` may use ``new`` and ``old``; ``{mine}`` in it: the row is of the kind.
    """
    name = f"poison_{kind_name.replace('-', '_')}"
    condition = when.replace("{mine}", f"new.metadata ->> 'poison' = '{kind_name}'")
    function = (
        f"create function public.{name}() returns trigger language plpgsql as $$ begin {body}; return {returns}; end $$"
    )
    made = (
        f"create {constraint and 'constraint '}trigger zz_{name} {at} on {on} {constraint}"
        f" for each row when ({condition}) execute function public.{name}()"
    )
    return {
        "before": (function, made),
        "undo": (f"drop trigger zz_{name} on {on}", f"drop function public.{name}()"),
    }
