"""docs/reference_python.md: the public modules, from their signatures and docstrings."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pgsched
from pgsched.domain.task_spec import TaskOptions, TaskSpec
from tools.docs.docstrings import in_line, prose
from tools.docs.markdown import anchor, code, page, table
from tools.docs.signatures import method_signature, returned_type, signature_of, type_of

INTRODUCTION = """\
# Python reference

`make docs` generates this page from the signatures and docstrings of the public modules. Everything else is private.
Times are `datetime` values with a time zone; returned times are in UTC. A `Duration` is a number of seconds, a
`timedelta`, an [`Interval`](#interval), or a text such as `"15m"`. For the use of these objects, see
[handlers.md](handlers.md), [schedules.md](schedules.md), [workflows.md](workflows.md) and [recipes.md](recipes.md)."""

SECTIONS = {
    "Applications and clients": (
        "App",
        "Router",
        "TaskHandle",
        "Prepared",
        "Registering",
        "EmbeddedWorker",
        "Client",
        "AsyncClient",
        "Context",
        "Event",
    ),
    "Tasks and schedules": ("TaskOptions", "TaskSpec", "Task", "Execution", "Interval", "preview"),
}
"""The order of what ``pgsched`` exports; errors have a section of their own, other names follow at the end."""

BESIDE = (
    "pgsched.app.task_handle:TaskHandle",
    "pgsched.app.task_handle:Prepared",
    "pgsched.app.task_handle:Registering",
    "pgsched.worker.embedded:EmbeddedWorker",
    "pgsched.domain.task_spec:TaskOptions",
    "pgsched.domain.errors:PermissionRefused",
    "pgsched.domain.errors:NotTransactional",
)
"""Types that users meet without importing them from ``pgsched``, described next to its exports."""

RETURNED = (
    "pgsched.domain.scheduled:Scheduled",
    "pgsched.domain.scheduled:BackfillTick",
    "pgsched.domain.scheduled:SkippedTick",
    "pgsched.domain.scheduling.calendars:Calendar",
    "pgsched.domain.saved_views:SavedView",
    "pgsched.domain.scheduling.preview:PreviewOptions",
    "pgsched.domain.task_status:TaskStatus",
    "pgsched.domain.records:MissedTicks",
    "pgsched.domain.records:LogEntry",
    "pgsched.domain.durable_records:DurableRun",
    "pgsched.domain.durable_records:DurableStep",
    "pgsched.domain.durable_records:DurableEvent",
    "pgsched.domain.records:QueueInfo",
    "pgsched.domain.records:HandlerInfo",
    "pgsched.domain.records:QueueSettings",
    "pgsched.domain.database_state:DatabaseState",
    "pgsched.domain.worker_records:WorkerInfo",
    "pgsched.db.queries.activity:RunningTask",
    "pgsched.domain.waiting.reasons:Why",
    "pgsched.domain.waiting.reasons:WhyQueue",
    "pgsched.domain.waiting.reasons:Reason",
    "pgsched.domain.waiting.reasons:WorkerName",
    "pgsched.domain.waiting.backlog:Forecast",
    "pgsched.domain.records:Settings",
    "pgsched.db.queries.settings:SettingsOptions",
    "pgsched.ops.prune:PruneOptions",
    "pgsched.domain.records:Pruned",
    "pgsched.domain.records:PrunedQueue",
    "pgsched.db.queries.payload_edits:EditedPayloads",
    "pgsched.db.queries.payload_edits:RefusedEdit",
    *(f"pgsched.domain.scheduling.timeline:{name}" for name in ("Timeline", "Bucket", "UpcomingSchedule", "Band")),
    "pgsched.ops.payload_check:PayloadCheck",
    "pgsched.ops.payload_check:WaitingMisfit",
    "pgsched.ops.payload_check:UnknownWaiting",
    "pgsched.ops.doctor.findings:Diagnosis",
    "pgsched.ops.doctor.findings:Finding",
    "pgsched.domain.counted:TypeStats",
    "pgsched.domain.counted:TypeBucket",
    "pgsched.domain.counted:HistogramBin",
    "pgsched.domain.counted:ErrorStats",
    "pgsched.domain.counted:Deployment",
    "pgsched.domain.counted:CountedTime",
    "pgsched.db.queries.counted:CountedOptions",
    "pgsched.db.queries.counted:ErrorFilters",
    "pgsched.domain.records:LockInfo",
    "pgsched.domain.stats:Stats",
    "pgsched.domain.records:StatusCount",
    "pgsched.domain.stats:Unhandled",
    "pgsched.domain.task_tree:TaskNode",
    "pgsched.db.queries.task_search:ListOptions",
    "pgsched.db.queries.task_search:Page",
    "pgsched.domain.pages:PagedList",
    "pgsched.db.queries.task_search:Changed",
    "pgsched.db.queries.task_search:BulkProgress",
    "pgsched.db.queries.dead_tasks:DeadOptions",
    "pgsched.domain.task_filters:TaskFilters",
    "pgsched.db.queries.queues:QueueLimits",
    "pgsched.db.queries.queues:QueueOptions",
    "pgsched.client.locks:Lock",
    "pgsched.client.locks:Held",
    "pgsched.client.async_locks:AsyncLock",
    "pgsched.client.async_locks:AsyncHeld",
    "pgsched.domain.dependency_results:Results",
    "pgsched.execution.state:State",
)
"""Parameter and result types of the clients' methods."""

TAKEN = {"pgsched.web": ("pgsched.web.auth.throttle:Throttle",)}
"""Parameter types of functions in addition to the exports of their module."""

MADE_BY_PGSCHED = (
    "PagedList",
    "TaskHandle",
    "Prepared",
    "Registering",
    "EmbeddedWorker",
    "CallNext",
    "Context",
    "Event",
    "Task",
    "Execution",
    *(place.split(":")[1] for place in RETURNED),
)
"""Types that only pgsched constructs."""

FLOW = ("step", "chain", "parallel", "group", "Step", "Chain", "Parallel", "StepOptions")
INTERNAL = ("(called by the worker)", "(called by pgsched)", "for other parts of pgsched")
"""Methods whose docstrings contain these words are not public."""


class Named(NamedTuple):
    """A public object with its name."""

    name: str
    thing: Any


def python_page() -> str:
    """The page."""
    written = _Page()
    exported = {name: getattr(pgsched, name) for name in pgsched.__all__}
    exported |= {one.name: one.thing for one in map(_load, BESIDE)}
    errors = {name: thing for name, thing in exported.items() if _is_error(thing)}
    ordered = [name for names in SECTIONS.values() for name in names]
    rest = [name for name in exported if name not in errors and name not in ordered]
    parts = [INTRODUCTION, _contents()]
    for heading, members in SECTIONS.items():
        parts.append(f"## {heading}")
        parts += [written.of(Named(name, exported[name])) for name in members]
    parts += [written.of(Named(name, exported[name])) for name in rest]
    parts += ["## Errors", _errors(errors)]
    parts += ["## What clients take and return", *[written.of(_load(place)) for place in RETURNED]]
    parts += ["## pgsched.flow", prose(importlib.import_module("pgsched.domain.workflow").__doc__)]
    parts += [written.of(_load(f"pgsched.flow:{name}")) for name in FLOW]
    for module in modules():
        things = [Named(name, getattr(module, name)) for name in public_names(module)]
        things += [_load(place) for place in TAKEN.get(module.__name__, ())]
        parts += [f"## {module.__name__}", prose(module.__doc__), *map(written.of, things)]
    return page(*parts)


def _contents() -> str:
    headings = [
        *SECTIONS,
        "Errors",
        "What clients take and return",
        "pgsched.flow",
        *[one.__name__ for one in modules()],
    ]
    return "\n".join(f"- [{heading}](#{anchor(heading)})" for heading in headings)


def modules() -> list[types.ModuleType]:
    """The public modules beside ``pgsched`` itself and ``pgsched.flow``: those with ``__all__``."""
    found = []
    for place in PUBLIC_MODULES:
        if importlib.util.find_spec(place) is None:
            continue
        module = importlib.import_module(place)
        if hasattr(module, "__path__"):
            inner = sorted(f"{place}.{one.name}" for one in pkgutil.iter_modules(module.__path__))
        else:
            inner = []
        for name in [place, *(inner if place == "pgsched.integrations" else [])]:
            one = importlib.import_module(name)
            if public_names(one):
                found.append(one)
    return found


PUBLIC_MODULES = ("pgsched.testing", "pgsched.integrations", "pgsched.observability.tracing", "pgsched.web")


def public_names(module: types.ModuleType) -> list[str]:
    """The exports of a module."""
    return list(getattr(module, "__all__", ()))


def _load(place: str) -> Named:
    module, name = place.split(":")
    return Named(name, getattr(importlib.import_module(module), name))


def _is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


def _errors(errors: dict[str, Any]) -> str:
    """A row for each error: those that pgsched raises, and the two that a handler raises."""
    rows = []
    for name, error in errors.items():
        base = error.__mro__[1].__name__
        takes = signature_of(error, name) if "__init__" in vars(error) else ""
        rows.append((code(takes or name), code(base), in_line(error.__doc__)))
    return table(("error", "is a", "raised for"), rows)


class _Page:
    """Writes the public objects once: a method documented for another class is only named and linked."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], str] = {}

    def of(self, one: Named) -> str:
        """The section of one object."""
        thing = one.thing
        if inspect.isclass(thing):
            return self._class(one)
        if callable(thing):
            return page(f"### {one.name}", code(signature_of(thing, one.name)), prose(thing.__doc__))
        return page(f"### {one.name}", code(f"{one.name} = {thing!r}"))

    def _class(self, one: Named) -> str:
        kind: type = one.thing
        fields = _fields(kind)
        shown = "" if _is_typed_dict(kind) or issubclass(kind, enum.Enum) else code(signature_of(kind, one.name))
        if fields or one.name in MADE_BY_PGSCHED:
            shown = ""  # the fields show it, with their meanings
        attributes, methods, same = _attributes(kind), [], []
        for name, member, function in _members(kind):
            text = inspect.cleandoc(function.__doc__ or "")
            first_told = self._told.setdefault((name, text), one.name)
            if isinstance(member, property):
                attributes.append((code(name), code(returned_type(function)), in_line(text)))
            elif first_told != one.name:
                same.append((first_told, f"{name}()"))
            else:
                heading = f"#### {one.name}.{name}"
                methods.append(page(heading, code(method_signature(name, member, function)), prose(text)))
        rows = [(code(name), code(kind), code(default), meaning) for name, kind, default, meaning in fields]
        if fields and not any(row[3] for row in rows):
            listed = ", ".join(code(f"{name}: {kind}") for name, kind, _, _ in fields) + "."
        elif fields and all(not row[2] for row in rows):
            listed = table(("field", "type", "meaning"), [(row[0], row[1], row[3]) for row in rows])
        else:
            listed = table(("field", "type", "default", "meaning"), rows)
        others = sorted({owner for owner, _ in same})
        return page(
            f"### {one.name}",
            shown,
            prose(kind.__doc__ if not (kind.__doc__ or "").startswith(f"{one.name}(") else ""),
            listed,
            table(("attribute", "type", "meaning"), attributes),
            *methods,
            *[
                f"Same as [`{owner}`](#{anchor(owner)}): "
                + ", ".join(code(name) for told, name in same if told == owner)
                + "."
                for owner in others
            ],
        )


def _members(kind: type) -> Iterator[tuple[str, Any, Callable[..., Any]]]:
    """The public methods and properties of a class, including pgsched's base classes, with their functions."""
    seen = set()
    for owner in kind.__mro__:
        if not owner.__module__.startswith("pgsched"):
            continue
        for name, member in vars(owner).items():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if name.startswith("_") or name in seen or not inspect.isroutine(function):
                continue
            seen.add(name)
            if function.__doc__ and not any(words in function.__doc__ for words in INTERNAL):
                yield name, member, function


def _is_typed_dict(kind: type) -> bool:
    return hasattr(kind, "__total__")


def _fields(kind: type) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each field of a dataclass, a NamedTuple or a TypedDict."""
    if not (dataclasses.is_dataclass(kind) or _is_typed_dict(kind) or hasattr(kind, "_fields")):
        return []
    meanings = attribute_docs(kind)
    if kind is TaskSpec:
        meanings = attribute_docs(TaskOptions) | meanings
    defaults: dict[str, object] = dict(getattr(kind, "_field_defaults", {}))
    if dataclasses.is_dataclass(kind):
        names = [one.name for one in dataclasses.fields(kind) if not one.name.startswith("_")]
        defaults |= {
            one.name: one.default for one in dataclasses.fields(kind) if one.default is not dataclasses.MISSING
        }
        defaults |= {
            one.name: one.default_factory()
            for one in dataclasses.fields(kind)
            if one.default_factory is not dataclasses.MISSING
        }
    else:
        names = list(getattr(kind, "_fields", None) or kind.__annotations__)
    return [
        (
            name,
            type_of(kind.__annotations__.get(name, "")),
            repr(defaults[name]) if name in defaults else "",
            in_line(meanings.get(name, "")),
        )
        for name in names
    ]


def attribute_docs(kind: type) -> dict[str, str]:
    """The docstring under each annotated name of a class, including those of the TypedDict that it extends."""
    source = _source(kind)
    bases = [vars(sys.modules[kind.__module__]).get(ast.unparse(one)) for one in source.bases]
    inherited = [attribute_docs(one) for one in bases if one is not None and _is_typed_dict(one)]
    return {name: text for docs in inherited for name, text in docs.items()} | {
        statement.target.id: text
        for statement, text in _told_below(source.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def _attributes(kind: type) -> list[tuple[str, str, str]]:
    """Name, type and meaning of the documented attributes that the constructor sets."""
    found = []
    for owner in kind.__mro__:
        if not owner.__module__.startswith("pgsched"):
            continue
        for function in _source(owner).body:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                types = {one.arg: one.annotation for one in [*function.args.args, *function.args.kwonlyargs]}
                for statement, text in _told_below(function.body):
                    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
                    if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                        found.append((code(target.attr), code(_kind_of(statement.value, types)), in_line(text)))
    return found


def _kind_of(value: ast.expr, types: dict[str, ast.expr | None]) -> str:
    """The type of an assigned value: a parameter's annotation, or the type of a plain value."""
    if isinstance(value, ast.Constant):
        return type(value.value).__name__
    annotation = types.get(value.id) if isinstance(value, ast.Name) else None
    return "" if annotation is None else type_of(ast.unparse(annotation))


def _source(kind: type) -> ast.ClassDef:
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(found, ast.ClassDef)
    return found


def _told_below(body: list[ast.stmt]) -> Iterator[tuple[Any, str]]:
    """Statements followed by a docstring."""
    for statement, following in pairwise(body):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement, inspect.cleandoc(str(following.value.value))
