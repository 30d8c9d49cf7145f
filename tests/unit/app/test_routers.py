"""Routers: what an application includes is its own, names that clash are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgsched.app.app import App
from pgsched.app.router import Router
from pgsched.domain.errors import RegistrationError
from pgsched.domain.events import Event
from pgsched.worker.declared_schedules import declared_keys


def router_of(*task_types: str) -> Router:
    router = Router()
    for task_type in task_types:
        router.task(task_type)(lambda: None)
    return router


def including(*parts: Router) -> App:
    app = App()
    for part in parts:
        app.include(part)
    return app


def note(_event: Event) -> None: ...


def test_handlers_hooks_and_schedules_of_a_router_are_the_app_s() -> None:
    router = Router()
    handle = router.task("digest", cron="0 8 * * *")(lambda: None)
    router.on("dead")(note)
    app = including(router)
    assert app.registry.get("digest") is handle.handler
    assert declared_keys(app.registry) == ("declared:digest",)
    assert app.hooks.of("dead") == [note]
    assert handle.app is app


def test_what_a_router_gets_after_it_was_included_is_the_app_s_too() -> None:
    inner, outer = Router(), Router()
    outer.include(inner)
    app = including(outer)
    handle = inner.task("late")(lambda region="": None)
    inner.on("dead")(note)
    handle.declare({"region": "eu"}, name="europe", cron="0 8 * * *")
    assert declared_keys(app.registry) == ("declared:late:europe",)
    assert app.registry.get("late") is handle.handler
    assert app.hooks.of("dead") == [note]
    assert handle.app is app


def test_another_app_is_included_as_a_router() -> None:
    other = App()
    handle = other.task("mail")(lambda: None)
    app = including(other)
    assert handle.app is app


def test_a_name_that_both_have_is_refused_naming_both_and_nothing_is_taken_over() -> None:
    def first() -> None: ...
    def second() -> None: ...

    one, two = Router(), Router()
    one.task("mail")(first)
    two.task("other")(second)
    two.task("mail")(second)
    app = including(one)
    with pytest.raises(RegistrationError) as refused:
        app.include(two)
    places = [f"{one.__module__}.{one.__qualname__}" for one in (first, second)]
    assert str(refused.value) == (
        f"task type 'mail' is registered already, by {places[0]}: {places[1]} must have another"
    )
    assert app.registry.task_types == ["mail"]


@pytest.mark.parametrize("late", ["in the router", "in the app", "in another router"])
def test_a_name_that_is_given_twice_after_the_inclusion_is_refused(late: str) -> None:
    router, other = router_of("mail"), router_of("report")
    app = including(router, other)
    place, name = {"in the router": (router, "report"), "in the app": (app, "mail")}.get(late, (other, "mail"))
    with pytest.raises(RegistrationError, match=f"'{name}' is registered already"):
        place.task(name)(lambda: None)


def test_a_key_that_both_declare_is_refused() -> None:
    def declared(task_type: str) -> Router:
        router = Router()
        router.task(task_type, cron="0 8 * * *", idempotency_key="mine")(lambda: None)
        return router

    app = including(declared("a"))
    with pytest.raises(RegistrationError, match="'mine' is declared already, by "):
        app.include(declared("b"))


def in_two_apps() -> tuple[Router, Router]:
    router = router_of("mail")
    including(router)
    return App(), router


def in_one_app() -> tuple[Router, Router]:
    router = router_of("mail")
    return including(router), router


def in_itself() -> tuple[Router, Router]:
    app = App()
    return app, app


def in_what_it_includes() -> tuple[Router, Router]:
    router = router_of("mail")
    return router, including(router)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (in_one_app, "the router of 'mail' is included here already"),
        (in_two_apps, "the router of 'mail' is included elsewhere already"),
        (in_itself, "the router without handlers cannot be included in itself"),
        (in_what_it_includes, "the router of 'mail' cannot be included in itself"),
    ],
)
def test_a_router_is_included_once(made: Callable[[], tuple[Router, Router]], words: str) -> None:
    place, router = made()
    with pytest.raises(RegistrationError, match=words):
        place.include(router)


def test_a_handler_whose_router_is_in_no_app_cannot_be_scheduled() -> None:
    handle = Router().task("mail")(lambda: None)
    with pytest.raises(RegistrationError, match=r"'mail' is of a router that no app has included: app\.include"):
        handle.schedule()
