"""Settings of the login by an identity provider: OpenID Connect's, and the mapping of its claims to roles."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pgsched.domain.errors import ConfigError

ANYBODY: Final = "*"
NAMES: Final = ("preferred_username", "email", "name", "sub")
"""The claims that name a person; the first one present is used."""
MAX_NAME: Final = 100


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """An identity provider, and the meaning of its claims here."""

    issuer: str
    """The URL below which ``/.well-known/openid-configuration`` is; the ``iss`` of its tokens."""
    client_id: str
    client_secret: str
    public_url: str
    """The public URL of the web server; the provider redirects back to ``/login/oidc/callback`` below it."""
    roles_claim: str = "groups"
    """The claim that holds roles or groups; a nested one such as ``realm_access.roles``."""
    operator: Sequence[str] = ()
    """Values of it that make an operator."""
    viewer: Sequence[str] = ()
    """Values of it that make a viewer; ``*`` makes a viewer of every user of the provider."""
    name_claim: str = ""
    """The claim that names people in the audit log; empty: the first of :data:`NAMES` that is present."""
    scopes: str = "openid profile email"
    """The scopes that are requested from the provider."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value, or one that would let strangers in."""
        for name in ("issuer", "client_id", "client_secret", "public_url"):
            if not getattr(self, name):
                raise ConfigError(f"{_option(name)} must be set with the other --oidc-… options")
        for name in ("issuer", "public_url"):
            _check_url(_option(name), getattr(self, name))
        if len(self.client_secret) < 16:
            rule = "must have at least 16 characters"
            raise ConfigError(rule, field="oidc_client_secret", value=len(self.client_secret))
        if not self.operator and not self.viewer:
            raise ConfigError("oidc_operator, oidc_viewer or both must name values that let users in")
        if ANYBODY in self.operator:
            rule = "must name values: * would make everybody an operator"
            raise ConfigError(rule, field="oidc_operator", value=ANYBODY)
        if "openid" not in self.scopes.split():
            raise ConfigError("must contain openid", field="oidc_scopes", value=self.scopes)

    @property
    def redirect_uri(self) -> str:
        """The redirect URL, as it must be registered at the provider."""
        return f"{self.public_url.rstrip('/')}/login/oidc/callback"

    def role_of(self, claims: Mapping[str, Any]) -> str | None:
        """Return the role of these claims; None for none."""
        values = values_of(claims, self.roles_claim)
        if values & set(self.operator):
            return "operator"
        return "viewer" if ANYBODY in self.viewer or values & set(self.viewer) else None

    def name_of(self, claims: Mapping[str, Any]) -> str | None:
        """Return the name for the audit log; an address that the provider has not verified is not used."""
        for name in [self.name_claim] if self.name_claim else NAMES:
            found = claims.get(name)
            if name == "email" and claims.get("email_verified") is False:
                continue
            if isinstance(found, str) and found.strip():
                return "".join(letter if letter.isprintable() else "?" for letter in found.strip())[:MAX_NAME]
        return None

    def __repr__(self) -> str:
        """Without the secret: a repr may end up in logs."""
        return f"OidcSettings(issuer={self.issuer!r}, client_id={self.client_id!r})"


def values_of(claims: Mapping[str, Any], path: str) -> set[str]:
    """Return the texts of a claim: itself, the items of a list, the names of an object."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return {found}
    return {one for one in found if isinstance(one, str)} if isinstance(found, list | tuple | Mapping) else set()


def _option(name: str) -> str:
    return name if name == "public_url" else f"oidc_{name}"


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname == "localhost" or _is_loopback(parts.hostname or "")
    if (
        not parts.hostname
        or parts.query
        or parts.fragment
        or parts.scheme not in (("https", "http") if local else ("https",))
    ):
        raise ConfigError("must be an https URL without a query", field=name, value=url)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
