"""A task with its relatives: the steps of a group, its dependencies, and the tasks that depend on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

MAX_NODES: Final = 20_000
"""Maximum number of tasks that are read."""
MAX_DEPTH: Final = 150
"""Maximum depth: a parser of the JSON needs some stack for each level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNode:
    """A task and its relatives. Each task occurs once in a tree, at the place nearest to the root."""

    id: int
    name: str | None
    task_type: str
    status: str
    depends_on: list[int]
    duration: float | None
    """Duration of its last or current attempt in seconds; for a group, the time since its steps were created. None
    when it has not started."""
    last_error: str | None
    children: list[TaskNode]
    """The steps of a group, those of the last tick."""
    upstream: list[TaskNode]
    """The tasks that it depends on."""
    dependents: list[TaskNode]
    """The tasks that still wait for it."""
    cut: bool
    """Whether more tasks belong here than are shown."""

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as a JSON-able dictionary."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {branch: [one.as_dict() for one in plain[branch]] for branch in _BRANCHES}


_BRANCHES = ("children", "upstream", "dependents")

Row = Mapping[str, Any]


def tree_of(task_id: int, rows: Sequence[Row]) -> TaskNode | None:
    """Build the tree of a task from the rows that were found around it; None when it is not among them.

    The ``kind`` of each row is its relation to the task (``self``, ``child``, ``up``, ``down``).
    """
    found = _Rows(rows[:MAX_NODES])
    if ("self", task_id) not in found.by_kind:
        return None
    return found.node(("self", task_id), 1, cut=len(rows) > MAX_NODES)


class _Rows:
    """The rows of one tree; each becomes a node once."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.by_kind = {(str(row["kind"]), int(row["id"])): row for row in rows}
        self._seen: set[int] = set()
        self._children: dict[int, list[int]] = {}
        self._dependents: dict[int, list[int]] = {}
        for (kind, task_id), row in sorted(self.by_kind.items()):
            if kind == "child":
                self._children.setdefault(row["parent_id"], []).append(task_id)
            elif kind == "down":
                for upstream in row["depends_on"]:
                    self._dependents.setdefault(upstream, []).append(task_id)

    def node(self, key: tuple[str, int], depth: int, *, cut: bool = False) -> TaskNode:
        kind, task_id = key
        row = self.by_kind[key]
        self._seen.add(task_id)
        below = {
            "children": [("child", one) for one in self._children.get(task_id, ()) if kind in ("self", "child")],
            "upstream": [("up", one) for one in row["depends_on"] if kind in ("self", "up")],
            "dependents": [("down", one) for one in self._dependents.get(task_id, ()) if kind in ("self", "down")],
        }
        nested: dict[str, list[TaskNode]] = {branch: [] for branch in _BRANCHES}
        for branch, keys in below.items():
            # Marked first, so that the nearer of two nodes shows what both have in common.
            fresh = [one for one in dict.fromkeys(keys) if one in self.by_kind and one[1] not in self._seen]
            if fresh and depth == MAX_DEPTH:
                cut = True
                continue
            self._seen.update(one for _, one in fresh)
            nested[branch] = [self.node(one, depth + 1) for one in fresh]
        return TaskNode(
            id=task_id,
            name=row["task_name"],
            task_type=row["task_type"],
            status=row["status"],
            depends_on=list(row["depends_on"]),
            duration=row["duration"],
            last_error=row["last_error"],
            cut=cut,
            **nested,
        )
