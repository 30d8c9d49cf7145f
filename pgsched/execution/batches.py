"""The signatures of batch handlers: what a call receives for each task, and which payloads fit."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pgsched.domain.errors import InvalidTask, RegistrationError
from pgsched.domain.validation import Duration, interval_of
from pgsched.execution.annotations import resolved, says_something
from pgsched.execution.context import Context

T = TypeVar("T")

LARGEST = 10_000
"""Maximum number of payloads in one call."""
DEFAULT_WAIT = 0.05
LONGEST_WAIT = 60.0
"""Maximum number of seconds for which the first payload of a call waits for others."""
_SCALARS = (str, bytes, int, float, bool)


class Item(Generic[T]):
    """One task in a call of a batch handler that takes ``list[Item]``."""

    __slots__ = ("context", "failure", "payload")

    def __init__(self, payload: T, context: Context) -> None:
        self.payload = payload
        """Decoded by the annotation: a Document for ``list[Item[Document]]``; a dict without one."""
        self.context = context
        """The attempt: its id, number, log, progress, and whether it has been ``cancelled``."""
        self.failure: BaseException | None = None

    def fail(self, error: BaseException | str) -> None:
        """Fail this task only, as if its own handler had raised ``error``, which may be Retry, Discard or Snooze.

        It takes precedence over what the call returns for the task.
        """
        self.failure = error if isinstance(error, BaseException) else RuntimeError(error)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRule:
    """How many payloads a call receives, and in which form."""

    size: int
    wait: float
    """Seconds for which the first payload waits for others."""
    parameter: str = ""
    """The name of the function's parameter."""
    gives_items: bool = False
    """Whether it receives :class:`Item` objects instead of payloads."""
    on_raised: Callable[[BaseException], None] | None = None
    """Called with what is raised for a task, in the context of its attempt (by :mod:`pgsched.testing`)."""


class Signature(NamedTuple):
    """What the signature of a batch handler says about a single payload."""

    rule: BatchRule
    whole: Any
    """The type of a payload; Any for a plain dict."""
    parameters: dict[str, inspect.Parameter]
    """The keys that a payload may have, as the parameters of a function."""
    open_ended: bool
    """Whether it may have any other keys."""
    result: Any
    """The annotation of a single result."""


def batch_rule(task_type: str, batch: int, wait: Duration | None) -> BatchRule:
    """Return the rule of a batch handler. Raises RegistrationError for values outside their ranges."""
    name = f"handler {task_type!r}"
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= LARGEST:
        raise RegistrationError(f"{name}: batch must be between 1 and {LARGEST}, got {batch!r:.100}")
    try:
        seconds = DEFAULT_WAIT if wait is None else interval_of("wait", wait).seconds
    except InvalidTask as error:
        raise RegistrationError(f"{name}: {error}") from None
    if not 0 <= seconds <= LONGEST_WAIT:
        raise RegistrationError(f"{name}: wait must be between 0 and {LONGEST_WAIT:g} seconds, got {wait!r:.100}")
    return BatchRule(size=batch, wait=seconds)


def read_signature(
    task_type: str, function: Callable[..., Any], signature: inspect.Signature, rule: BatchRule
) -> Signature:
    """Return what a batch handler takes and returns. Raises RegistrationError for anything else."""
    parameters = list(signature.parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    ):
        raise RegistrationError(
            f"batch handler {task_type!r} must have one parameter, the list of its payloads, "
            f"got {', '.join(map(repr, signature.parameters)) or 'none'}"
        )
    [parameter] = parameters
    given = _element(_meaning(function, parameter.annotation))
    if given is None:
        raise RegistrationError(
            f"batch handler {task_type!r}: parameter {parameter.name!r} must be annotated as a list of payloads, "
            f"as list[dict] or list[pgsched.Item], got {parameter.annotation!r:.100}"
        )
    gives_items = given is Item or typing.get_origin(given) is Item
    if gives_items:
        given = next(iter(typing.get_args(given)), Any)
    if given in _SCALARS:
        raise RegistrationError(
            f"batch handler {task_type!r}: a payload is an object, got a list of {given.__name__}: "
            "annotate a model, a dataclass, a TypedDict or dict"
        )
    fields = None if given is Any else _fields(given)
    return Signature(
        rule=dataclasses.replace(rule, parameter=parameter.name, gives_items=gives_items),
        whole=Any if given in (dict, dict[str, Any]) or isinstance(given, TypeVar) else given,
        parameters=fields or {},
        open_ended=fields is None,
        result=_result(_meaning(function, signature.return_annotation)),
    )


def _meaning(function: Callable[..., Any], annotation: Any) -> Any:
    """What an annotation means, which may be text; Any when it says nothing."""
    if not says_something(annotation):
        return Any
    return resolved(function, {"it": annotation}).get("it", Any)


def _element(annotation: Any) -> Any:
    """What a list is of; None for what is no list."""
    if annotation is Any or annotation in (list, Sequence, Iterable):
        return Any
    if typing.get_origin(annotation) in (list, Sequence, Iterable):
        return typing.get_args(annotation)[0]
    return None


def _result(annotation: Any) -> Any:
    """What the return annotation says of one result: exceptions in the list are none."""
    element = _element(annotation)
    if element is None or element is Any:
        return inspect.Parameter.empty
    if typing.get_origin(element) in (typing.Union, types.UnionType):
        kept = [one for one in typing.get_args(element) if not _is_exception(one)]
        return typing.Union[tuple(kept)] if kept else inspect.Parameter.empty  # noqa: UP007 - made of what is left
    return inspect.Parameter.empty if _is_exception(element) else element


def _is_exception(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def _fields(whole: Any) -> dict[str, inspect.Parameter] | None:
    """The keys of a payload of this type; None when it may have any."""
    if isinstance(whole, type) and hasattr(whole, "model_fields"):
        return _model_fields(whole)
    if dataclasses.is_dataclass(whole) and isinstance(whole, type):
        hints = typing.get_type_hints(whole, include_extras=True)
        return {
            one.name: _parameter(hints[one.name], one.default, required=_is_required(one))
            for one in dataclasses.fields(whole)
            if one.init
        }
    if hasattr(whole, "__required_keys__"):
        hints = typing.get_type_hints(whole, include_extras=True)
        return {
            name: _parameter(_bare(hint), required=_is_needed(hint, otherwise=name in whole.__required_keys__))
            for name, hint in hints.items()
        }
    return None


def _model_fields(model: Any) -> dict[str, inspect.Parameter] | None:
    config = model.model_config
    if config.get("extra") == "allow":
        return None
    found = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        if alias is not None and (
            not isinstance(alias, str) or config.get("populate_by_name") or config.get("validate_by_name")
        ):
            return None
        found[alias or name] = _parameter(field.rebuild_annotation(), field.default, required=field.is_required())
    return found


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_needed(hint: Any, *, otherwise: bool) -> bool:
    """Whether a key of a TypedDict must be there; where annotations are text, only the hint says so."""
    qualifier = getattr(typing.get_origin(hint), "_name", None)
    return qualifier == "Required" or (otherwise and qualifier != "NotRequired")


def _bare(hint: Any) -> Any:
    """A hint without Required, NotRequired and ReadOnly."""
    while getattr(typing.get_origin(hint), "_name", None) in ("Required", "NotRequired", "ReadOnly"):
        hint = typing.get_args(hint)[0]
    return hint


def _parameter(annotation: Any, default: object = dataclasses.MISSING, *, required: bool) -> inspect.Parameter:
    # Its own name is of no account, and a key of a payload need not be one that a parameter can have.
    return inspect.Parameter(
        "key",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=annotation,
        default=inspect.Parameter.empty if required else default,
    )
