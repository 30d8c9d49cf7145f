"""What handlers share: opened once per worker by the lifespans of an application, available as ``ctx.state``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from pgsched.execution.callables import name_of

T = TypeVar("T")

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
"""Opens what handlers share; what its context manager yields is found in ``ctx.state``."""

NOWHERE = "lifespans are opened by workers and by pgsched.testing; their child processes have none"


class State:
    """What lifespans have yielded: a mapping's values by name, all values by type."""

    def __init__(self, empty: str = "no lifespan has yielded anything") -> None:
        """``empty`` explains why there is nothing."""
        self._empty = empty
        self._values: list[object] = []
        self._names: dict[str, Any] = {}
        self._givers: dict[str, Callable[..., Any]] = {}

    def get(self, kind: type[T]) -> T:
        """Return the value of a type, or of a subclass of it.

        Raises LookupError when there is none, and when there are several.
        """
        found = [value for value in self._values if isinstance(value, kind)]
        if len(found) == 1:
            return found[0]
        much = f"{len(found)} values" if found else "no value"
        raise LookupError(f"ctx.state has {much} of type {kind.__name__}: {self._held()}")

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(f"ctx.state has no {name!r}: {self._held()}")
        return self._names[name]

    def __getattr__(self, name: str) -> Any:
        # Python itself asks for names with an underscore, for example in copy and pickle.
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"ctx.state has no {name!r}: {self._held() if name[:1] != '_' else 'it is private'}")
        return self._names[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def add(self, value: object, giver: Callable[..., Any]) -> None:
        """Add what a lifespan yields (called by pgsched). Raises ValueError for a name that is taken."""
        if value is None:
            return
        if not isinstance(value, Mapping):
            self._values.append(value)
            return
        for name in value:
            if name in self._givers:
                raise ValueError(f"{name!r} is yielded by {name_of(self._givers[name])} already")
        self._names.update(value)
        self._givers.update(dict.fromkeys(value, giver))
        self._values.extend(value.values())

    def _held(self) -> str:
        if not self._values:
            return self._empty
        unnamed = [type(value).__name__ for value in self._values if not any(value is v for v in self._names.values())]
        named = [f"{name} ({type(value).__name__})" for name, value in self._names.items()]
        return f"it has {', '.join([*named, *unnamed])}"
