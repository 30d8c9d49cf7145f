"""A small OpenID Connect provider on a free port of this machine, which lies when it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.waiting import wait_until

CLIENT, SECRET = "pgsched-of-the-tests", "client-secret-of-the-tests"


class Provider:
    """Logs everybody in at once, as ``claims`` say."""

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {"sub": "u1", "preferred_username": "ada", "groups": ["jobs-operators"]}
        """What is said of who logs in."""
        self.lies: dict[str, Any] = {}
        """Claims of the ID token instead of the right ones; None: without it."""
        self.metadata: dict[str, Any] = {}
        """Instead of the right metadata."""
        self.forged: str | None = None
        """The algorithm of a token that it did not sign."""
        self.requests: list[str] = []
        self._key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.signing = self._key
        self._codes: dict[str, dict[str, str]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self._metadata),
            Route("/jwks", self._jwks),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
        ]

    async def _metadata(self, _request: Request) -> Response:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        said = {name: f"{self.issuer}/{place}" for name, place in places.items()}
        said |= {"issuer": self.issuer, "end_session_endpoint": f"{self.issuer}/logout"}
        return JSONResponse(
            said | {"id_token_signing_alg_values_supported": ["none", "HS256", "RS256"]} | self.metadata
        )

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def _token(self, request: Request) -> Response:
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.requests.append("token")
        named = base64.b64decode(request.headers["authorization"].split()[1]).decode()
        asked = self._codes.pop(given["code"], None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(given.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or named != f"{CLIENT}:{SECRET}"
            or given["redirect_uri"] != asked["redirect_uri"]
            or proof.decode().rstrip("=") != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        right = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        said = {name: value for name, value in (right | self.claims | self.lies).items() if value is not None}
        header = {"alg": "RS256", "kid": "one"}
        token = jwt.encode(header, said, self.signing) if self.forged is None else self._forge(said)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def _forge(self, said: dict[str, Any]) -> str:
        """A token that whoever knows the public key can make: signed with it, or not at all."""
        head = {"alg": self.forged, "kid": "one", "typ": "JWT"}
        body = b".".join(_encoded(json.dumps(part).encode()) for part in (head, said))
        key = self._key.as_pem(private=False)
        sign = b"" if self.forged == "none" else _encoded(hmac.new(key, body, hashlib.sha256).digest())
        return (body + b"." + sign).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@contextmanager
def running_provider() -> Iterator[Provider]:
    provider = Provider()
    config = uvicorn.Config(Starlette(routes=provider.routes()), port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="provider", daemon=True)
    thread.start()
    wait_until(lambda: server.started, message="the provider serves")
    port = server.servers[0].sockets[0].getsockname()[1]
    provider.issuer = f"http://127.0.0.1:{port}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
