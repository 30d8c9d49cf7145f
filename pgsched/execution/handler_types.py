"""The payload and result types of a handler's annotations, built at their first use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pgsched.execution.annotations import resolved, says_something

if TYPE_CHECKING:
    from pgsched.execution.validators import PayloadType, ResultType, WholePayload


class HandlerTypes:
    """The types of one handler. The first use of one of them imports pydantic."""

    def __init__(
        self,
        task_type: str,
        function: Callable[..., Any],
        parameters: Mapping[str, inspect.Parameter],
        result: Any,
        whole: Any = None,
    ) -> None:
        """``parameters`` are those with annotations that matter, ``result`` is the annotation of the result.

        ``whole`` is the type of the whole payload, which a batch handler receives instead of arguments.
        """
        self._whole = whole
        self._task_type = task_type
        self._function = function
        self._parameters = parameters
        self._result = result
        self.arguments: Callable[[dict[str, Any]], dict[str, Any]] = self._first_arguments
        """Returns a payload decoded by the annotations. Raises PayloadMismatch, which names faults by their paths."""

    @cached_property
    def payload(self) -> PayloadType | None:
        """The types of the payload's keys; None when the annotations turn out to say nothing."""
        annotations = {name: parameter.annotation for name, parameter in self._parameters.items()}
        found = resolved(self._function, annotations)
        if not found:
            return None
        from pgsched.execution.validators import payload_type

        defaults = {name: one.default for name, one in self._parameters.items() if one.default is not one.empty}
        return payload_type(self._task_type, found, defaults)

    @cached_property
    def whole(self) -> WholePayload | None:
        """The type of the whole payload; None for arguments, and when the annotation says nothing."""
        if not says_something(self._whole):
            return None
        from pgsched.execution.validators import whole_payload

        return whole_payload(self._task_type, self._whole)

    @cached_property
    def result(self) -> ResultType | None:
        """The type of the result; None when there is no annotation, or it says nothing."""
        if not says_something(self._result):
            return None
        found = resolved(self._function, {"return": self._result})
        if not found:
            return None
        from pgsched.execution.validators import result_type

        return result_type(self._task_type, found["return"])

    def load(self) -> None:
        """Build now what would otherwise be built at the first use."""
        _ = self.payload, self.whole, self.result

    def _first_arguments(self, payload: dict[str, Any]) -> dict[str, Any]:
        # Later tasks skip this.
        payload_type = self.whole or self.payload
        self.arguments = _as_it_is if payload_type is None else payload_type.decode
        return self.arguments(payload)

    def encode(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a caller's payload in JSON form.

        Raises PayloadMismatch when it would not fit, InvalidTask when it cannot become JSON.
        """
        encoded = payload if self.payload is None else self.payload.encode(payload)
        if self.whole is not None:
            self.whole.check_value(encoded)
        return encoded

    def decode_result(self, stored: Any) -> Any:
        """Return a stored result, decoded by the annotation. Raises ResultMismatch."""
        return stored if self.result is None else self.result.decode(stored)

    def check_text(self, text: str) -> None:
        """Raise PayloadMismatch unless a payload, as JSON text, fits."""
        payload_type = self.whole or self.payload
        if payload_type is not None:
            payload_type.check_text(text)


def _as_it_is(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


def types_of(
    task_type: str,
    function: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    result: Any,
    whole: Any = None,
) -> HandlerTypes | None:
    """Return the types of a handler with these parameters; None when its annotations say nothing."""
    typed = {name: one for name, one in parameters.items() if says_something(one.annotation)}
    if not typed and not says_something(result) and not says_something(whole):
        return None
    return HandlerTypes(task_type, function, typed, result, whole)
