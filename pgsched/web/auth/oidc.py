"""Login by an identity provider: OpenID Connect's authorization code flow, with PKCE, state and nonce.

Authlib, the maintained and complete library for it, does the provider's metadata and keys, the exchange of the code,
signature and claims of the ID token. This module does what Authlib leaves to its caller: the expected issuer, the
accepted signatures, and where state, nonce and verifier are stored meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pgsched.domain.errors import ConfigError
from pgsched.web.auth.oidc_settings import OidcSettings
from pgsched.web.auth.sealing import key_of, seal, unseal

MISSING: Final = "the login by an identity provider is not installed: pip install 'pgsched[oidc]'"
COOKIE: Final = "pgsched_oidc"
SECONDS: Final = 600
"""Time limit of a login at the provider."""
TIMEOUT: Final = 10.0
"""Seconds that the provider has for an answer."""
LEEWAY: Final = 60
"""Allowed clock difference in seconds."""
SIGNATURES: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signature algorithms with a key that only the provider has."""


class LoginFailed(Exception):
    """A failed login; the text is for the user, ``reason`` for the log."""

    def __init__(self, text: str, *, status: int, reason: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


class Oidc:
    """The identity provider of a web server. It is not contacted before the first login."""

    def __init__(self, settings: OidcSettings) -> None:
        try:
            from authlib.integrations.starlette_client import OAuth
        except ModuleNotFoundError as error:
            raise ConfigError(MISSING) from error
        self.settings = settings
        self._key = key_of("login under way", settings.client_secret)
        self._provider: Any = OAuth().register(
            "pgsched",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": settings.scopes, "code_challenge_method": "S256", "timeout": TIMEOUT},
        )

    async def begin(self, request: Request, goes_on: str, *, path: str) -> Response:
        """Redirect a user to the provider; ``goes_on`` is the page to open afterwards, ``path`` that of the cookie."""
        await self._load()
        waiting: dict[str, Any] = {}
        request.scope["session"] = waiting
        response: Response = await self._provider.authorize_redirect(request, self.settings.redirect_uri)
        said = {"waiting": waiting, "goes_on": goes_on, "until": time.time() + SECONDS}
        response.set_cookie(
            COOKIE,
            seal(self._key, said),
            max_age=SECONDS,
            path=path,
            secure=urlsplit(self.settings.public_url).scheme == "https",
            httponly=True,
            samesite="lax",  # The provider's page redirects back here.
        )
        return response

    async def finish(self, request: Request) -> tuple[Mapping[str, Any], str]:
        """Return the claims of a user who comes back from the provider, and the page to open.

        Raises LoginFailed.
        """
        said = unseal(self._key, request.cookies.get(COOKIE))
        if said is None or not said.get("until", 0) > time.time():
            raise LoginFailed(
                "this login was not started here, or too long ago", status=401, reason="no login in progress"
            )
        await self._load()
        if request.query_params.get("iss", self.settings.issuer) != self.settings.issuer:
            raise LoginFailed("the answer is from another identity provider", status=401, reason="issuer of the answer")
        request.scope["session"] = said["waiting"]
        options = {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
        }
        try:
            async with asyncio.timeout(2 * TIMEOUT):
                token = await self._provider.authorize_access_token(request, claims_options=options, leeway=LEEWAY)
        except Exception as error:
            text = "the identity provider did not let you in, or its answer is not valid"
            raise LoginFailed(text, status=401, reason=_reason(error)) from error
        claims = token.get("userinfo")
        if not claims:
            raise LoginFailed("the identity provider sent no ID token", status=401, reason="no ID token")
        return claims, str(said["goes_on"])

    async def logout_url(self) -> str | None:
        """Return the URL where a user ends their session at the provider; None when it has none."""
        try:
            await self._load()
        except LoginFailed:
            return None
        place = self._provider.server_metadata.get("end_session_endpoint")
        if not isinstance(place, str) or urlsplit(place).scheme not in ("http", "https"):
            return None
        back = f"{self.settings.public_url.rstrip('/')}/login"
        query = urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})
        return f"{place}{'&' if '?' in place else '?'}{query}"

    async def _load(self) -> None:
        """Load the provider's metadata, which must name the configured issuer."""
        try:
            async with asyncio.timeout(TIMEOUT):
                metadata = await self._provider.load_server_metadata()
        except Exception as error:
            text = "the identity provider cannot be reached at the moment"
            raise LoginFailed(text, status=503, reason=_reason(error)) from error
        if metadata.get("issuer") != self.settings.issuer:
            found = metadata.pop("issuer", None)
            metadata.pop("_loaded_at", None)  # Load again on the next call.
            text = "the identity provider is not the one that is set up here"
            raise LoginFailed(text, status=503, reason=f"its issuer is {found!r}, not {self.settings.issuer!r}")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [one for one in offered if one in SIGNATURES] or ["RS256"]


def forget(response: Response, path: str) -> None:
    """Delete the cookie of a login in progress."""
    response.delete_cookie(COOKIE, path=path, httponly=True, samesite="lax")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
