"""Which payloads fit which function."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pgsched.app.app import App
from pgsched.domain.errors import PayloadMismatch, RegistrationError
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry


def handler_of(function: Callable[..., Any]) -> Handler:
    return Registry().register("mail", function)


def plain(to: str, subject: str = "hi") -> None: ...


def named_only(*, to: str) -> None: ...


def anything(**fields: Any) -> None: ...


def with_context(to: str, context: Context) -> None: ...


async def with_ctx(ctx) -> None:  # type: ignore[no-untyped-def]
    ...


def quoted(context: "Context") -> None: ...


class Caller:
    async def __call__(self, to: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        (plain, {"to": "a"}),
        (plain, {"to": "a", "subject": "b"}),
        (named_only, {"to": "a"}),
        (anything, {}),
        (anything, {"whatever": 1}),
        (with_context, {"to": "a"}),
        (with_ctx, {}),
        (Caller(), {"to": "a"}),
    ],
)
def test_a_payload_fits(function: Callable[..., Any], payload: dict[str, Any]) -> None:
    handler_of(function).check(payload)


@pytest.mark.parametrize(
    ("function", "payload", "message"),
    [
        (plain, {}, "payload does not fit handler 'mail': missing argument 'to'"),
        (plain, {"to": 1, "cc": 2}, "payload does not fit handler 'mail': unexpected argument 'cc'"),
        (plain, {"cc": 2, "bcc": 3}, "unexpected argument 'bcc', 'cc'"),
        (with_context, {"to": "a", "context": 1}, "argument 'context'"),
        (Caller(), {}, "missing argument 'to'"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_by_argument(
    function: Callable[..., Any], payload: dict[str, Any], message: str
) -> None:
    with pytest.raises(PayloadMismatch) as refused:
        handler_of(function).check(payload)
    assert message in str(refused.value)


def test_a_payload_with_thousands_of_foreign_keys_makes_a_short_message() -> None:
    with pytest.raises(PayloadMismatch) as refused:
        handler_of(plain).check({"to": 1, **{f"k{number}" * 200: 1 for number in range(5000)}})
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(("function", "name"), [(with_context, "context"), (with_ctx, "ctx"), (quoted, "context")])
def test_the_context_is_found_by_its_annotation_or_its_name(function: Callable[..., Any], name: str) -> None:
    assert handler_of(function).context_parameter == name


def test_a_parameter_named_ctx_with_another_annotation_is_an_argument() -> None:
    def handler(ctx: str) -> None: ...

    assert handler_of(handler).context_parameter is None


def test_a_coroutine_function_runs_on_the_loop() -> None:
    assert handler_of(with_ctx).is_async
    assert not handler_of(plain).is_async


def test_an_object_with_an_async_call_runs_on_the_loop() -> None:
    assert handler_of(Caller()).is_async


class Methods:
    async def method(self, to: str) -> str:
        return to

    @classmethod
    async def of_class(cls, to: str) -> str:
        return to

    @staticmethod
    async def of_none(to: str) -> str:
        return to


async def with_name(to: str) -> str:
    return to


@pytest.mark.parametrize(
    "function",
    [
        with_name,
        Methods().method,
        Methods.of_class,
        Methods.of_none,
        vars(Methods)["of_none"],
        functools.partial(with_name),
        functools.lru_cache(with_name),
    ],
    ids=["function", "method", "class method", "static method", "static method's object", "partial", "cached"],
)
def test_a_handler_may_have_many_names(function: Callable[..., Any]) -> None:
    app, registry = App(), Registry()
    handle: Any = app.task("old")(app.task("older", executor="process")(app.task("oldest")(function)))
    for task_type in ("old", "oldest"):
        handler = app.registry.get(task_type)
        assert handler is not None
        assert (handler.is_async, handler.on_loop, handler.parameters) == (True, True, {"to"})
        assert asyncio.run(handler.function(to="a")) == "a"
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    assert registry.register("other", handle).on_loop
    assert not Registry().register("plain", app.task("one")(app.task("two")(plain))).is_async


class Calls:
    def __call__(self) -> Iterator[int]:
        yield 1


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generates:
    def method(self) -> Iterator[int]:
        yield 1

    @staticmethod
    def of_none() -> Iterator[int]:
        yield 1

    @classmethod
    async def of_class(cls) -> AsyncIterator[int]:
        yield 1

    @classmethod
    def bare(cls) -> None: ...


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (generator, "a generator function"),
        (lambda: (yield), "a generator function"),
        (async_generator, "an async generator function"),
        (functools.partial(generator), "a generator function"),
        (functools.partial(functools.partial(async_generator)), "an async generator function"),
        (functools.lru_cache(generator), "a generator function"),
        (Generates().method, "a generator function"),
        (Generates.of_none, "a generator function"),
        (vars(Generates)["of_none"], "a generator function"),
        (Generates.of_class, "an async generator function"),
        (Calls(), "a generator function"),
        (functools.partial(Calls()), "a generator function"),
        (contextlib.contextmanager(generator), "a context manager"),
        (contextlib.asynccontextmanager(async_generator), "a context manager"),
        (functools.partial(contextlib.contextmanager(generator)), "a context manager"),
        (Caller, "a class"),
        (functools.partial(Caller), "a class"),
        (vars(Generates)["bare"], "a classmethod, which cannot be called"),
        (7, "a int, which cannot be called"),
    ],
)
@pytest.mark.parametrize("executor", ["auto", "process"])
def test_what_runs_nothing_when_it_is_called_is_no_handler(function: Any, what: str, executor: str) -> None:
    expected = f"handler 'mail' must be a function that runs when it is called, got {what}"
    for register in (App().task("mail", executor=executor), functools.partial(Registry().register, "mail")):
        with pytest.raises(RegistrationError) as refused:
            register(function)
        assert str(refused.value) == expected


def test_a_decorator_may_run_the_generator_that_it_wraps() -> None:
    @functools.wraps(generator)
    def runs() -> list[int]:
        return list(generator())

    assert handler_of(runs).function() == [1]


def test_a_positional_parameter_is_refused() -> None:
    def handler(to: str, /) -> None: ...

    with pytest.raises(RegistrationError, match="'to' is positional"):
        handler_of(handler)


def test_a_star_parameter_is_refused() -> None:
    def handler(*to: str) -> None: ...

    with pytest.raises(RegistrationError, match="'to' is positional"):
        handler_of(handler)


def test_two_contexts_are_refused() -> None:
    def handler(one: Context, other: Context) -> None: ...

    with pytest.raises(RegistrationError, match="twice"):
        handler_of(handler)


def test_a_name_that_is_taken_is_refused() -> None:
    registry = Registry()
    registry.register("mail", plain)
    with pytest.raises(RegistrationError, match="'mail' is registered already"):
        registry.register("mail", named_only)


def test_the_task_type_of_groups_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"'pgsched\.group' is that of groups"):
        Registry().register("pgsched.group", plain)


def test_a_transactional_handler_must_ask_for_the_context() -> None:
    assert Registry().register("mail", with_context, transactional=True).transactional
    with pytest.raises(RegistrationError, match="'mail' is transactional and takes no context"):
        Registry().register("mail", plain, transactional=True)


def test_a_transactional_handler_in_a_process_is_refused() -> None:
    with pytest.raises(RegistrationError, match='transactional excludes executor="process"'):
        Registry().register("mail", with_context, transactional=True, executor="process")


def test_an_annotation_that_exists_for_the_type_checker_only_is_no_obstacle() -> None:
    def handler(to: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert handler_of(handler).parameters == {"to"}


def test_task_types_are_sorted() -> None:
    registry = Registry()
    registry.register("b", plain)
    registry.register("a", plain)
    assert registry.task_types == ["a", "b"]
