"""Plans of several tasks: the payload of a group, built from steps, chains and parallel parts.

A plan is a JSON object that any language can write; this module builds and checks one by the rules of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Unpack

from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import Described, InvalidTask, shown
from pgsched.domain.task_spec import Payloads, StepOptions, json_values
from pgsched.domain.validation import RULES, Check, flag, list_of, number, one_of, refused, text

if TYPE_CHECKING:
    from pgsched.app.task_handle import TaskHandle

MAX_STEPS: Final = 10_000


@dataclass(frozen=True)
class Step:
    """One task of a group."""

    name: str
    fields: Mapping[str, Any] = field(repr=False)
    """In the form of the payload."""


@dataclass(frozen=True)
class Chain:
    """Parts that run one after the other."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Parallel:
    """Parts that run side by side."""

    parts: tuple[Part, ...]


Part: TypeAlias = Step | Chain | Parallel
Named: TypeAlias = "Part | str | TaskHandle[..., Any]"
"""A part, or the task type or handler of a step without anything else."""
Defaults = Callable[[str], Mapping[str, Any]]
"""Returns the default options of a task_type."""


def step(
    task: str | TaskHandle[..., Any],
    payload: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    order: float | None = None,
    parallel: bool | None = None,
    after: Iterable[str] | None = None,
    **options: Unpack[StepOptions],
) -> Step:
    """Return one task of a group: its type, or the handler that ``@app.task`` returned, and its payload.

    ``name`` (the task_type by default) must be unique in the group; the result is found under it. ``order`` and
    ``parallel`` are for steps that are given to :func:`group` itself; ``after`` names the steps that it waits for.
    Raises InvalidTask, naming step, option, rule and value, and PayloadMismatch when the payload does not fit a
    handler. Values that JSON does not have may also be given with a type: the client of an app encodes them.
    """
    foreign: Mapping[str, Any] | None = None
    if not isinstance(task, str):
        encoded = task.handler.encode(payload or {})
        payload = encoded if payload is not None else None
        task = task.task_type
    elif isinstance(payload, Mapping) and not _is_json(payload):
        payload, foreign = None, payload
    given: dict[str, Any] = {
        "task_type": task,
        "name": name,
        "payload": payload,
        "order": order,
        "parallel": parallel,
        "after": after if after is None or isinstance(after, str) else list(after),
        **options,
    }
    fields = _checked({key: value for key, value in given.items() if value is not None}, "step")
    if foreign is not None:
        fields["payload"] = foreign
    return Step(_name(fields), fields)


def _is_json(payload: Mapping[str, Any]) -> bool:
    try:
        RULES["payload"].check("payload", payload)
    except InvalidTask:
        return False
    return True


def chain(*parts: Named) -> Chain:
    """Return a plan in which each part starts when the previous one has ended; a task type alone is a step."""
    return Chain(_placed("chain", parts))


def parallel(*parts: Named) -> Parallel:
    """Return a plan whose parts run side by side; what follows waits for all of them."""
    return Parallel(_placed("parallel", parts))


def group(*parts: Named) -> dict[str, Any]:
    """Return the payload of a group that runs its parts one after the other, as :func:`chain` does.

    Plain steps can order themselves: they run by their ``order``, steps of the same order side by side (with
    ``parallel=False`` one after the other), and one with ``after`` waits only for the steps that it names.
    Raises InvalidTask.
    """
    return checked_group({"steps": _steps_of(parts)})


def more_steps(
    parts: Sequence[Named | Mapping[str, Any]], defaults: Defaults | None = None, payloads: Payloads | None = None
) -> list[dict[str, Any]]:
    """Return the steps of a plan to add to a running group; their ``after`` may also name steps of the group.

    The plan is given as :func:`group` accepts it, or as an object that this function returned. Raises InvalidTask.
    """
    plan = parts[0] if len(parts) == 1 and isinstance(parts[0], Mapping) else None
    if plan is None:
        plan = {"steps": _steps_of([part for part in parts if not isinstance(part, Mapping)])}
        if any(isinstance(part, Mapping) for part in parts):
            raise refused("steps to add", "be parts of a plan, or one plan as an object", Described("both"))
    steps: list[dict[str, Any]] = _checked_plan(plan, defaults, payloads, more=True)["steps"]
    return steps


def _steps_of(given: Sequence[Named]) -> list[dict[str, Any]]:
    parts = [_part(one) for one in given]
    if all(isinstance(part, Step) for part in parts):
        return [dict(one.fields) for one in parts if isinstance(one, Step)]
    whole = chain(*parts)
    levels = _levels(whole)
    if levels is not None:
        return [{**one.fields, "order": at} for at, level in enumerate(levels, 1) for one in level]
    steps: list[dict[str, Any]] = []
    _wire(whole, (), steps)
    return steps


def _part(one: Named) -> Part:
    if isinstance(one, str) or (not isinstance(one, Step | Chain | Parallel) and hasattr(one, "handler")):
        return step(one)
    return one  # type: ignore[return-value] # the caller that places it rejects anything else


def checked_group(
    plan: Mapping[str, Any] | Part, defaults: Defaults | None = None, payloads: Payloads | None = None
) -> dict[str, Any]:
    """Return the payload of a group, checked; ``defaults`` complete its steps, ``payloads`` encode their payloads.

    Raises InvalidTask, naming step, key, rule and value, and PayloadMismatch.
    """
    if isinstance(plan, Step | Chain | Parallel):
        plan = {"steps": _steps_of([plan])}
    return _checked_plan(plan, defaults, payloads)


def _checked_plan(
    plan: Mapping[str, Any], defaults: Defaults | None, payloads: Payloads | None = None, *, more: bool = False
) -> dict[str, Any]:
    if not isinstance(plan, Mapping) or not isinstance(plan.get("steps"), Sequence) or isinstance(plan["steps"], str):
        raise refused("a group", "be an object with a list of steps", _kind(plan))
    if unknown := sorted(plan.keys() - {"steps"}):
        raise refused("a group", "have steps and nothing else", unknown[0])
    if not 1 <= len(plan["steps"]) <= MAX_STEPS:
        raise refused("steps", f"be between 1 and {MAX_STEPS}", len(plan["steps"]))
    steps = []
    for place, one in enumerate(plan["steps"], 1):
        if isinstance(one, str):
            one = {"task_type": one}
        if not isinstance(one, Mapping):
            raise refused(f"step {place}", "be an object or a task_type", _kind(one))
        fields = _checked(one if payloads is None else _encoded(one, payloads), f"step {place}")
        if defaults is not None:
            _fill(fields, defaults)
        steps.append(fields)
    _check_names(steps, more=more)
    return {"steps": steps}


def _kind(value: object) -> Described:
    return Described(f"a {type(value).__name__}")


_order_limits: Final = number(-1e308, 1e308, rule="be a number, of 1e308 at most")


def _order(field: str, value: Any) -> Any:
    _order_limits(field, value)
    return value  # a whole number stays one


_RULES: Final[Mapping[str, Check]] = {
    "order": _order,
    "parallel": flag,
    "after": list_of(text, "names"),
    **{key: RULES[key].check for key in ("task_type", "name", "payload", *StepOptions.__optional_keys__)},
    "dependency_mode": one_of("all", "any", rule="be all or any"),
}


def _name(fields: Mapping[str, Any]) -> str:
    return str(fields.get("name", fields["task_type"]))


def _encoded(step: Mapping[str, Any], payloads: Payloads) -> Mapping[str, Any]:
    """Return a step with its payload encoded, where the annotations of a handler say how."""
    task_type, payload = step.get("task_type"), step.get("payload", {})
    if not isinstance(task_type, str) or not isinstance(payload, Mapping):
        return step  # the rules say so
    if task_type == GROUP:
        try:
            return {**step, "payload": checked_group(payload, payloads=payloads)}
        except InvalidTask as error:
            raise error.within(f"step {shown(step.get('name', task_type))}") from None
    encoded = payloads.encode(task_type, payload)
    return {**step, "payload": encoded} if encoded or "payload" in step else step


def _checked(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a step in the form of the payload: every value is JSON that PostgreSQL parses the same everywhere."""
    label = given.get("name", given.get("task_type"))
    if isinstance(label, str) and label:
        where = f"step {shown(label)}"
    if "task_type" not in given:
        raise InvalidTask(f"{where} must have a task_type")
    fields: dict[str, Any] = {}
    for key, value in given.items():
        if (check := _RULES.get(key)) is None:
            raise InvalidTask(f"{where}: {shown(key)} is no key of a step")
        if value is None:
            raise InvalidTask("must have a value: leave it out for the default", field=key, place=f"{where}: ")
        try:
            fields[key] = check(key, value)
        except InvalidTask as error:
            raise error.within(where) from None
    fields = json_values(fields)
    if fields["task_type"] == GROUP:
        try:
            fields["payload"] = checked_group(fields.get("payload", {}))
        except InvalidTask as error:
            raise error.within(where) from None
    return fields


def _fill(fields: dict[str, Any], defaults: Defaults) -> None:
    """Complete a step with the options of its task_type; for a group, complete its steps."""
    options = defaults(fields["task_type"])
    missing = {
        key: options[key] for key in StepOptions.__optional_keys__ if options.get(key) is not None and key not in fields
    }
    if missing:
        fields |= _checked({"task_type": fields["task_type"], **missing}, "step")
    if fields["task_type"] == GROUP:
        fields["payload"] = checked_group(fields["payload"], defaults)


def _check_names(steps: Iterable[Mapping[str, Any]], *, more: bool) -> None:
    names: set[str] = set()
    for one in steps:
        if (name := _name(one)) in names:
            raise InvalidTask(f"steps must have different names, {shown(name)} is there twice: give each a name")
        names.add(name)
    for one in () if more else steps:
        for other in one.get("after", ()):
            if other not in names:
                raise InvalidTask(f"step {shown(_name(one))}: after names {shown(other)}, which is no step")


# Chains and parallel parts.


def _placed(kind: str, given: tuple[Named, ...]) -> tuple[Part, ...]:
    if not given:
        raise InvalidTask(f"{kind} must have one step or more, got none")
    parts = tuple(_part(one) for one in given)
    for part in parts:
        if not isinstance(part, Step | Chain | Parallel):
            raise InvalidTask(f"{kind} is made of step(), chain() and parallel(), got {_kind(part)}")
        if isinstance(part, Step) and (said := sorted({"order", "parallel"} & part.fields.keys())):
            raise InvalidTask(
                f"step {shown(part.name)}: {said[0]} is for steps in a group, its place in a {kind} decides"
            )
    return parts


def _levels(plan: Chain) -> list[list[Step]] | None:
    """Return the steps in stages, each of which waits for all of the previous one; None for a plan of another form."""
    levels: list[list[Step]] = []
    for part in plan.parts:
        if isinstance(part, Chain):
            inner = _levels(part)
            if inner is None:
                return None
            levels += inner
        else:
            level = [part] if isinstance(part, Step) else list(part.parts)
            if not all(isinstance(one, Step) and "after" not in one.fields for one in level):
                return None
            levels.append([one for one in level if isinstance(one, Step)])
    return levels


def _wire(part: Part, before: tuple[str, ...], steps: list[dict[str, Any]]) -> tuple[str, ...]:
    """Add the steps of a part that starts after others; returns the names of its last steps."""
    if isinstance(part, Step):
        after = dict.fromkeys([*before, *part.fields.get("after", ())])
        steps.append({**part.fields, "after": list(after)})
        return (part.name,)
    if isinstance(part, Chain):
        for one in part.parts:
            before = _wire(one, before, steps)
        return before
    return tuple(name for one in part.parts for name in _wire(one, before, steps))
