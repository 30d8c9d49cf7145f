"""The header Idempotency-Key of requests that create a task (draft-ietf-httpapi-idempotency-key-header).

It is the ``idempotency_key`` of the task, so it is valid while the task exists, for every caller and interface. Another
request with the key of a task that differs from the request is rejected.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header

from pgsched.domain.errors import InvalidTask
from pgsched.domain.validation import checked, refused
from pgsched.web.services.changes import Made

_NAME: Final = "Idempotency-Key"
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')


def read_key(
    given: Annotated[
        str | None,
        Header(
            alias=_NAME,
            description="The idempotency_key of the task, plain or as a quoted string: the request may be sent again "
            "without creating a second task. A key of a task that differs from this body is rejected.",
        ),
    ] = None,
) -> str | None:
    """A dependency: the key of a request; None without one. Raises InvalidTask."""
    if given is None:
        return None
    key = given.strip()
    if key.startswith('"'):
        if (quoted := _QUOTED.fullmatch(key)) is None:
            raise refused(_NAME, "be text, or a string in quotes", given)
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    if not key:
        raise refused(_NAME, "not be empty", given)
    try:
        checked("idempotency_key", key)
    except InvalidTask as error:
        raise InvalidTask.of(error, field=_NAME, subject=_NAME) from None
    return key


IdempotencyKey = Annotated[str | None, Depends(read_key)]


def with_key(options: dict[str, Any], key: str | None, on_conflict: str) -> dict[str, Any]:
    """Return the options of a task with the key of the header. Raises InvalidTask where they disagree."""
    if key is None:
        return options
    if options.get("idempotency_key", key) != key:
        raise refused("idempotency_key", f"be equal to the header {_NAME}, {key!r}", options["idempotency_key"])
    if on_conflict not in ("return", "keep"):
        raise refused("on_conflict", f"be return together with the header {_NAME}", on_conflict)
    return options | {"idempotency_key": key}


def check_same(made: Made, key: str | None) -> Made:
    """Return the result. Raises InvalidTask for the key of a task that differs from the request."""
    if key is not None and made.differs:
        raise InvalidTask(
            f"{key!r} was used for task {made.task.id}, which differs in {', '.join(made.differs)}: "
            "use another key for another request",
            field=_NAME,
        )
    return made
