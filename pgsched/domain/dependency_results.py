"""The results of the tasks that a task depends on, as its handler receives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Results(Mapping[int | str, Any]):
    """Results by the id of the task, or by its ``task_name``; read-only. Iterates over the ids.

    The result is None for a task that returned nothing or did not complete; a deleted task is missing.
    """

    __slots__ = ("_by_id", "_by_name")

    def __init__(self, tasks: Sequence[tuple[int, str | None, Any]] = ()) -> None:
        """``tasks``: id, name and result of each."""
        self._by_id = {task_id: result for task_id, _, result in tasks}
        self._by_name: dict[str, dict[int, None]] = {}
        for task_id, name, _ in tasks:
            if name is not None:
                self._by_name.setdefault(name, {})[task_id] = None

    def tasks(self) -> list[tuple[int, str | None, Any]]:
        """Return id, name and result of each (called by pgsched)."""
        names = {task_id: name for name, ids in self._by_name.items() for task_id in ids}
        return [(task_id, names.get(task_id), result) for task_id, result in self._by_id.items()]

    def __getitem__(self, key: int | str) -> Any:
        if not isinstance(key, str):
            return self._by_id[key]
        ids = list(self._by_name[key])
        if len(ids) > 1:
            raise KeyError(f"{len(ids)} dependencies are named {key!r}: use an id, {', '.join(map(str, ids[:10]))}")
        return self._by_id[ids[0]]

    def __contains__(self, key: object) -> bool:
        return key in (self._by_name if isinstance(key, str) else self._by_id)

    def __iter__(self) -> Iterator[int | str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"Results({self._by_id!r})"
