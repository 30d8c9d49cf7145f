"""The payload part of a form: fields from the registered schema, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.dashboard import find_said_options
from pgsched.db.queries.payload_forms import RecentTask, check_payload, list_recent_payloads
from pgsched.db.queries.workers import handlers as list_handlers
from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import HandlerInfo
from pgsched.domain.task_spec import TaskOptions
from pgsched.web.auth.access import Actor
from pgsched.web.dashboard.forms import payload_of, whole_number
from pgsched.web.formats import insert_text, pretty
from pgsched.web.services.payload_form import PREFIX, PayloadForm, field_of_error, form_of

STEPS: Final = ("type", "fields", "json", "recent", "sql")
"""Actions of the form's buttons other than saving."""


class FaultyPayload(InvalidTask):
    """The payload's fields break rules; ``faults`` are by the names of the fields."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        name, said = next(iter(faults.items()))
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(f"the payload does not fit: {name.removeprefix(PREFIX) or 'more keys'} {said}{more}")
        self.faults = dict(faults)


@dataclass(kw_only=True)
class PayloadPart:
    """The template's data of a payload."""

    handler: HandlerInfo | None
    form: PayloadForm | None
    """None: no registered schema describes its keys."""
    as_json: bool
    faults: Mapping[str, str] = field(default_factory=dict)
    recent: Sequence[RecentTask] | None = None
    insert: str | None = None

    @property
    def has_fields(self) -> bool:
        """Whether fields are shown instead of JSON."""
        return self.form is not None and not self.as_json


async def part_of(actor: Actor, task_type: str, typed: Mapping[str, str]) -> PayloadPart:
    """Return the payload part for a type with the typed values; as fields where a schema is registered."""
    task_type = task_type.strip()
    found = await actor.client.database.run(list_handlers(task_type)) if task_type else []
    handler = found[0] if found and found[0].retired_at is None else None
    form = None if handler is None else form_of(handler.payload_schema)
    return PayloadPart(handler=handler, form=form, as_json=typed.get("mode") != "fields")


def filled(part: PayloadPart, payload: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a payload: of fields if they can represent it, else its JSON."""
    texts = None if part.form is None else part.form.texts_of(payload)
    part.as_json = texts is None
    return {"payload": pretty(payload)} | (texts or {})


async def typed_payload(actor: Actor, part: PayloadPart, typed: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the typed payload; None where the form has none. Raises InvalidTask.

    A payload from fields is validated against the schema like an INSERT for a strict handler.
    """
    if part.form is None or part.handler is None or part.as_json:
        return payload_of(typed)
    payload, faults = part.form.read(typed)
    if faults:
        raise FaultyPayload(faults)
    schema = part.handler.payload_schema or {}
    try:
        await actor.client.database.run(check_payload(part.handler.task_type, schema, payload))
    except InvalidTask as error:
        raise _placed(part, error) from None
    return payload


def with_payload(typed: Mapping[str, str], payload: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a form with the typed payload in PostgreSQL's normalized JSON, in which edits are compared."""
    return {**typed} if payload is None or typed.get("mode") != "fields" else {**typed, "payload": _stored(payload)}


def _stored(payload: Mapping[str, Any]) -> str:
    """Return a payload as JSON, its keys in the order in which PostgreSQL stores them."""
    return pretty(dict(sorted(payload.items(), key=lambda one: (len(one[0].encode()), one[0].encode()))))


def noted(part: PayloadPart, error: InvalidTask) -> str:
    """Attach the faults of an error to their fields; return its text."""
    found = _placed(part, error)
    if isinstance(found, FaultyPayload):
        part.faults = found.faults
    return str(error)


def _placed(part: PayloadPart, error: InvalidTask) -> InvalidTask:
    if isinstance(error, FaultyPayload) or part.form is None:
        return error
    name = field_of_error(str(error), part.form)
    return error if name is None else FaultyPayload({name: str(error).rpartition(": ")[2]})


async def step(actor: Actor, part: PayloadPart, typed: dict[str, str]) -> dict[str, str]:
    """Perform a button's action; return the form with all typed values. Raises InvalidTask."""
    if (number := typed.get("template")) is not None:
        one = await actor.client.get(whole_number("template", number))
        if part.handler is None or one.task_type != part.handler.task_type or not actor.sees_payloads:
            raise InvalidTask("must be a task of this type", field="template", value=number)
        others = {name: text for name, text in typed.items() if not name.startswith(PREFIX)}
        return others | filled(part, one.payload)
    wanted = typed.get("step")
    if wanted == "type":
        part.as_json = part.form is None
    elif wanted == "json":
        payload = await typed_payload(actor, part, typed) if part.has_fields else None
        part.as_json = True
        return typed if payload is None else typed | {"payload": _stored(payload)}
    elif wanted == "fields" and part.form is not None:
        payload = payload_of(typed) or {}
        texts = part.form.texts_of(payload)
        if texts is None:
            raise InvalidTask("this payload can only be written as JSON: a value has another type than its field")
        part.as_json = False
        return {name: text for name, text in typed.items() if not name.startswith(PREFIX)} | texts
    elif wanted == "recent" and part.handler is not None:
        part.recent = await actor.client.database.run(list_recent_payloads(part.handler.task_type))
    return typed


class _NotKept(Exception):
    """Rolls back a transaction after a trial."""


async def insert_of(actor: Actor, task_type: str, payload: Mapping[str, Any] | None, options: TaskOptions) -> str:
    """Return the INSERT that creates a task, tried and rolled back. Raises like the client's ``schedule``."""
    given = {**options}
    key = given.pop("idempotency_key", None)
    text = ""
    try:
        async with actor.client.transaction() as client:
            text = await _tried(client, task_type, payload, given, None if key is None else str(key))
            raise _NotKept
    except _NotKept:
        return text


async def _tried(
    client: AsyncClient, task_type: str, payload: Mapping[str, Any] | None, options: Mapping[str, Any], key: str | None
) -> str:
    one = await client.get(await client.schedule(task_type, payload, **options))
    said = await client.database.run(find_said_options(one.task_type, one.queue))
    return insert_text(one, said, key=key)
