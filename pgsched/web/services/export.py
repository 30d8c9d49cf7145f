"""The tasks of a list as a file, streamed: memory stays small whatever their number."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_export import FORMATS, MEDIA_TYPES, lines_of
from pgsched.domain.task_filters import TaskFilters, filter_parameters
from pgsched.domain.validation import one_of
from pgsched.web.auth.access import Actor
from pgsched.web.auth.hiding import hidden

_CHUNK = 64 * 1024
_format = one_of(*FORMATS)


def export(actor: Actor, kind: str, filters: TaskFilters) -> StreamingResponse:
    """Return all matching tasks as a download; columns that are hidden from the actor are empty. Raises InvalidTask."""
    kind = str(_format("format", kind))
    if "query" in filters:
        raise InvalidTask("must be read before", field="query")
    filter_parameters(filters)  # An invalid filter is rejected before the answer starts.
    name = f"tasks.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_chunks(actor, kind, filters), media_type=MEDIA_TYPES[kind], headers=headers)


async def _chunks(actor: Actor, kind: str, filters: TaskFilters) -> AsyncIterator[str]:
    head, line_of = lines_of(kind)
    gathered, size = [head], len(head)
    async for task in actor.client.iter_tasks(**filters):
        record = task.as_dict()
        line = line_of(record if actor.sees_payloads else hidden(record))
        gathered.append(line)
        size += len(line)
        if size > _CHUNK:
            yield "".join(gathered)
            gathered, size = [], 0
    yield "".join(gathered)
