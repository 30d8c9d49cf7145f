"""Checks of request bodies before they are used: declared as JSON, and unambiguous to every parser."""

from __future__ import annotations

import json
from email.message import Message

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import NotExact, check_exact
from pgsched.web.auth.guard import SAFE_METHODS
from pgsched.web.middleware import HttpLayer
from pgsched.web.paths import route_path


class JsonOnly(HttpLayer):
    """Rejects a body under ``/api`` that is not declared as JSON, before it is read."""

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Raises HTTPException (415)."""
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0").strip("0 ") != "" or "transfer-encoding" in headers
        if has_body and scope["method"] not in SAFE_METHODS and route_path(scope).startswith("/api/"):
            _check_type(headers)
        await self._app(scope, receive, send)


async def check_body(request: Request) -> None:
    """Reject an ambiguous body: InvalidTask names the place.

    A body is ambiguous when an object has a duplicate key, or a number does not fit a double. FastAPI reports all
    other faults.
    """
    if request.method in SAFE_METHODS or not (body := await request.body()):
        return
    try:
        check_exact(body)
    except NotExact as error:
        raise InvalidTask(f"{error.place or 'body'} {error.rule}", field=error.place or "body", subject="") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return
    except ValueError:  # More digits than the interpreter parses.
        raise InvalidTask("must have no number of more than 4,300 digits", field="body") from None


def _check_type(headers: Headers) -> None:
    given = headers.get("content-type", "")
    message = Message()
    message["content-type"] = given
    kind, charset = message.get_content_type(), message.get_content_charset("utf-8")
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    if not given or not is_json or charset not in ("utf-8", "utf8"):
        got = repr(given[:100]) if given else "none"
        raise HTTPException(
            415, f"Content-Type must be application/json, got {got}", headers={"Accept": "application/json"}
        )
    coding = headers.get("content-encoding", "identity")
    if coding.strip().lower() not in ("identity", ""):
        detail = f"Content-Encoding must be identity, got {coding[:100]!r}"
        raise HTTPException(415, detail, headers={"Accept-Encoding": "identity"})
