"""A handler: a registered function, with what its signature says of the payloads that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pgsched.domain.byte_size import parse_size
from pgsched.domain.errors import PayloadMismatch, RegistrationError
from pgsched.domain.task_spec import OWN_OPTIONS, SCHEDULE_OPTIONS, TaskOptions, TaskSpec
from pgsched.execution.batches import BatchRule, read_signature
from pgsched.execution.callables import is_coroutine_function, why_no_handler
from pgsched.execution.context_classes import check_durable, context_class_of
from pgsched.execution.failure_rules import FailureRules
from pgsched.execution.handler_types import HandlerTypes, types_of

if TYPE_CHECKING:
    from pgsched.execution.gatherer import Gatherer

EXECUTORS = ("auto", "process")


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A registered function."""

    task_type: str
    function: Callable[..., Any]
    is_async: bool
    """Whether it is a coroutine function, run on an event loop; anything else runs in a thread."""
    options: TaskOptions
    """Default options of tasks of this type."""
    parameters: frozenset[str]
    """Names that a payload may contain."""
    required: frozenset[str]
    open_ended: bool
    """Whether the function takes ``**kwargs``: a payload may then contain any key."""
    context_parameter: str | None
    context_class: str | None = None
    """The name of the class in the parameter's annotation; None when there is none."""
    durable: bool = False
    """Whether it records its steps, which are not run again once recorded."""
    executor: str = "auto"
    """``auto``: the event loop or a thread; ``process``: a child process."""
    memory_limit: int | None = None
    """Maximum address space of its child process, in bytes."""
    on_loop: bool = False
    """Whether it runs on the worker's event loop."""
    needs_context: bool = False
    """Whether it needs a context from the start: it has a parameter for it, or reports from another process."""
    transactional: bool = False
    """Whether it writes in a transaction that is committed together with the outcome."""
    middleware: tuple[Callable[..., Awaitable[Any]], ...] = ()
    """The middleware that a worker runs around it, the first one outermost."""
    schedules: tuple[TaskSpec, ...] = ()
    """Schedules declared in code, which workers sync with the table; each has an idempotency key."""
    failure_rules: FailureRules | None = None
    """What follows from exceptions by their types; None retries all of them."""
    strict: bool = False
    """Whether an INSERT with a payload that does not fit is rejected."""
    types: HandlerTypes | None = None
    """The types of the annotations; None when there are none."""
    cost: int | None = None
    """The number of starts that a task counts as in the rate of its queue; None for one."""
    batch: BatchRule | None = None
    """Set for a handler that takes many payloads in one call."""
    gatherer: Gatherer | None = None
    """Gathers the payloads of a call, in a worker."""

    @property
    def shows_context(self) -> bool:
        """Whether code of the application sees its context: the handler, or middleware."""
        return self.context_parameter is not None or bool(self.middleware)

    @property
    def defaults(self) -> TaskOptions:
        """The default options of tasks of this type."""
        own = OWN_OPTIONS | SCHEDULE_OPTIONS if self.options.keys() & {"cron", "every"} else OWN_OPTIONS
        return cast("TaskOptions", {name: value for name, value in self.options.items() if name not in own})

    @property
    def payload_schema(self) -> dict[str, Any]:
        """The JSON Schema of the payload: its optional and required names, and their types from the annotations."""
        typed = None if self.types is None else self.types.payload
        properties, definitions = ({}, {}) if typed is None else typed.schemas()
        schema = {
            "type": "object",
            "properties": {name: properties.get(name, {}) for name in sorted(self.parameters)},
            "required": sorted(self.required),
            "additionalProperties": self.open_ended,
        }
        return schema | ({"$defs": definitions} if definitions else {})

    @property
    def result_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the result, by its annotation; None: anything."""
        typed = None if self.types is None else self.types.result
        return None if typed is None else typed.schema()

    @property
    def description(self) -> str | None:
        """What the handler does, from its docstring."""
        return inspect.getdoc(self.function)

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raise PayloadMismatch, naming the argument, unless the payload's keys fit the function's signature."""
        keys = payload.keys()
        if self.open_ended:
            if self.context_parameter in keys:
                self._refuse(
                    [str(self.context_parameter)], "the context is passed by pgsched, not by the payload: argument"
                )
        elif not keys <= self.parameters:
            self._refuse(sorted(keys - self.parameters), "unexpected argument")
        if not self.required <= keys:
            self._refuse(sorted(self.required - keys), "missing argument")

    def encode(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a caller's payload in JSON form, encoded by the annotations where there are any.

        Raises PayloadMismatch for what does not fit, and InvalidTask for what cannot become JSON.
        """
        self.check(payload)
        return payload if self.types is None else self.types.encode(payload)

    def _refuse(self, names: list[str], rule: str) -> None:
        shown = ", ".join(repr(name[:100]) for name in names[:10])
        raise PayloadMismatch(f"payload does not fit handler {self.task_type!r}: {rule} {shown}")


def inspect_handler(
    task_type: str, function: Callable[..., Any], options: TaskOptions, batch: BatchRule | None = None
) -> Handler:
    """Return the handler that a function is under a name, by its signature.

    Raises RegistrationError if the signature cannot take a payload, or calling it would not run it.
    """
    registered = getattr(function, "handler", None)
    if isinstance(registered, Handler):  # under another name
        function = registered.function
    if (what := why_no_handler(function)) is not None:
        raise RegistrationError(f"handler {task_type!r} must be a function that runs when it is called, got {what}")
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation that exists only for type checkers, or is text of another kind
        signature = inspect.signature(function)
    if batch is not None:
        return _inspect_batch(task_type, function, options, signature, batch)
    parameters: dict[str, inspect.Parameter] = {}
    required = set()
    open_ended = False
    context_parameter = context_class = None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise RegistrationError(
                f"handler {task_type!r}: parameter {parameter.name!r} is positional, a payload has names only"
            )
        elif _is_context(parameter):
            if context_parameter is not None:
                raise RegistrationError(f"handler {task_type!r} asks for the context twice")
            context_parameter, context_class = parameter.name, context_class_of(parameter)
        else:
            parameters[parameter.name] = parameter
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Handler(
        task_type=task_type,
        function=function,
        is_async=is_coroutine_function(function),
        options=options,
        parameters=frozenset(parameters),
        required=frozenset(required),
        open_ended=open_ended,
        context_parameter=context_parameter,
        context_class=context_class,
        types=types_of(task_type, function, parameters, signature.return_annotation),
    )


def _inspect_batch(
    task_type: str,
    function: Callable[..., Any],
    options: TaskOptions,
    signature: inspect.Signature,
    batch: BatchRule,
) -> Handler:
    read = read_signature(task_type, function, signature, batch)
    return Handler(
        task_type=task_type,
        function=function,
        is_async=is_coroutine_function(function),
        options=options,
        parameters=frozenset(read.parameters),
        required=frozenset(name for name, one in read.parameters.items() if one.default is one.empty),
        open_ended=read.open_ended,
        context_parameter=None,
        types=types_of(task_type, function, read.parameters, read.result, read.whole),
        batch=read.rule,
    )


def placed(
    handler: Handler, executor: str, memory_limit: int | str | None, *, transactional: bool, durable: bool
) -> Handler:
    """Return the handler with its executor and its options. Raises RegistrationError if they do not fit together."""
    name = f"handler {handler.task_type!r}"
    if executor not in EXECUTORS:
        raise RegistrationError(f"{name}: executor must be {' or '.join(EXECUTORS)}, got {executor!r:.100}")
    if handler.batch is not None and (executor == "process" or transactional):
        what = "transactional" if transactional else 'executor="process"'
        raise RegistrationError(f"{name}: batch excludes {what}, which is of one task")
    if memory_limit is not None and executor != "process":
        raise RegistrationError(f'{name}: memory_limit needs executor="process"')
    limit = None if memory_limit is None else parse_size(f"{name}: memory_limit", memory_limit)
    if transactional and executor == "process":
        raise RegistrationError(f'{name}: transactional excludes executor="process", its connection is the worker\'s')
    if transactional and handler.context_parameter is None:
        raise RegistrationError(
            f"{name} is transactional and takes no context: add a parameter annotated Context, which has the connection"
        )
    check_durable(name, handler, executor, transactional=transactional, durable=durable)
    return replace(
        handler,
        executor=executor,
        memory_limit=limit,
        on_loop=handler.is_async and executor == "auto" and handler.batch is None,
        needs_context=handler.context_parameter is not None
        or executor == "process"
        or (handler.batch is not None and handler.batch.gives_items),
        transactional=transactional,
        durable=durable,
    )


def _is_context(parameter: inspect.Parameter) -> bool:
    return context_class_of(parameter) is not None or (
        parameter.name == "ctx" and parameter.annotation is parameter.empty
    )
