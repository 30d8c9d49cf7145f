"""Paths of the web server, below any prefix that all of it is served under."""

from __future__ import annotations

from collections.abc import Container

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

_ROOT = "pgsched.root"
_SITE = "pgsched.site"


class AnyText(Convertor[str]):
    """A path segment that is a name, with any character in it: Starlette's own ``path`` stops at a line feed."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the text unchanged."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text unchanged."""
        return value


register_url_convertor("text", AnyText())


def root_of(scope: Scope) -> str:
    """Return the prefix: the app's own, or where another app has mounted it; empty for none."""
    root: str = scope.get(_ROOT, "")
    return root


def site_of(connection: HTTPConnection) -> str:
    """Return the prefix that one login covers: that of the site, of which a database may be a part."""
    site: str = connection.scope.get(_SITE, root_of(connection.scope))
    return site


def part_of_site(scope: Scope, prefix: str, names: Container[str]) -> tuple[str | None, Scope]:
    """Return the part of a site below ``prefix`` of a request, None for the site itself, and its scope there."""
    site = scope.get("root_path", "").rstrip("/") + prefix
    path: str = scope["path"]
    below = path.removeprefix(site) if path == site or path.startswith(f"{site}/") else path
    name = below.split("/")[1] if below.startswith("/") else ""
    if name not in names:
        return None, scope
    root = f"{site}/{name}"
    return name, {**scope, _SITE: site, "root_path": root, "path": site + below}


def route_path(scope: Scope) -> str:
    """Return the path of a request below the prefix."""
    path: str = scope["path"]
    return path.removeprefix(root_of(scope))


def href(connection: HTTPConnection, path: str) -> str:
    """Return the path of a page as a browser needs it: with the prefix."""
    return root_of(connection.scope) + path


def _whole(scope: Scope, mounted: str) -> str:
    """Return the path with the prefix that a proxy removed before the app that mounts ours, given in its root_path."""
    path: str = scope["path"]
    outer = scope.get("app_root_path", "").rstrip("/")
    taken_off = outer and not f"{path}/".startswith(f"{mounted}/")
    return outer + path if taken_off and f"{path}/".startswith(f"{mounted.removeprefix(outer)}/") else path


class Root:
    """Records the prefix, and restores it where a proxy removed it, so that both kinds of proxies work."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] in ("http", "websocket"):
            mounted = scope.get("root_path", "").rstrip("/")
            root = mounted + self._prefix
            path = _whole(scope, mounted)
            if root and not path.startswith(root + "/"):
                path = root + "/" if path == root else root + path.removeprefix(mounted)
            scope = {_SITE: root, **scope, _ROOT: root, "root_path": root, "path": path}
        await self._app(scope, receive, send)
