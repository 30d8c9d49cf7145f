"""Settings of the web server: flags, then ``PGSCHED_*``, then the defaults below."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from itertools import combinations

from pgsched.domain.errors import ConfigError
from pgsched.web.auth.oidc_settings import OidcSettings
from pgsched.web.auth.sealing import key_of

MIN_TOKEN = 16
MAX_TOKEN = 500


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """Where the web server listens, and who may use it.

    Without tokens it serves only this machine, and all its users are operators. With any token every request needs one,
    from this machine too.
    """

    host: str = "127.0.0.1"
    """The address to bind."""
    port: int = 8080
    """The port to bind; 0 takes a free one."""
    path_prefix: str = ""
    """The path under which all of it is served, such as ``/jobs``; empty: the root."""
    trusted_proxies: str = ""
    """Addresses and networks, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are trusted."""
    viewer_token: str | None = None
    """Permits everything that changes nothing."""
    operator_token: str | None = None
    """Opens everything."""
    metrics_token: str | None = None
    """Permits ``/metrics`` and nothing else; the other tokens permit it too."""
    oidc: OidcSettings | None = None
    """The identity provider by which people log in; tokens remain valid."""
    hide_payloads: bool = False
    """Hide payloads, metadata, results, progress and error texts from viewers."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value, or one that would let strangers in."""
        if not 0 <= self.port <= 65535:
            raise ConfigError("must be between 0 and 65535", field="port", value=self.port)
        if self.path_prefix and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", self.path_prefix):
            rule = "must begin with / and not end with it, of letters, digits and . _ ~ -"
            raise ConfigError(rule, field="path_prefix", value=self.path_prefix)
        for proxy in self.proxies:
            _check_proxy(proxy)
        given = (("viewer", self.viewer_token), ("operator", self.operator_token), ("metrics", self.metrics_token))
        tokens = {f"{role}_token": token for role, token in given if token is not None}
        for name, token in tokens.items():
            _check_token(name, token)
        for (name, token), (other, its_token) in combinations(tokens.items(), 2):
            if token == its_token:
                raise ConfigError(f"{name} and {other} must differ")
        if not self.protected and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host} can be reached from other machines: set operator_token or viewer_token "
                "(PGSCHED_OPERATOR_TOKEN, PGSCHED_VIEWER_TOKEN), or bind 127.0.0.1"
            )

    @property
    def proxies(self) -> list[str]:
        """The trusted proxies, one by one."""
        return [part.strip() for part in self.trusted_proxies.split(",") if part.strip()]

    @property
    def protected(self) -> bool:
        """Whether a token or a login is required."""
        return self.has_tokens or self.oidc is not None

    @property
    def has_tokens(self) -> bool:
        """Whether there is a token that permits pages."""
        return self.viewer_token is not None or self.operator_token is not None

    def key(self, purpose: str) -> bytes | None:
        """Return the key for one purpose, derived from all secrets; None when nothing is required."""
        given = [secret for secret in (self.operator_token, self.viewer_token) if secret is not None]
        given += [] if self.oidc is None else [self.oidc.client_secret]
        return key_of(purpose, *given) if given else None

    def __repr__(self) -> str:
        """Without the tokens: a repr may end up in logs."""
        return f"WebSettings(host={self.host!r}, port={self.port}, protected={self.protected})"


def is_loopback(host: str | None) -> bool:
    """Return whether an address or the name ``localhost`` is this machine's own."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _check_proxy(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError:
        rule = "must be IP addresses or networks such as 10.0.0.0/8, separated by commas"
        raise ConfigError(rule, field="trusted_proxies", value=proxy) from None


def _check_token(name: str, token: str) -> None:
    # The value is never shown.
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(f"must have {MIN_TOKEN} to {MAX_TOKEN} characters", field=name, value=len(token))
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("must be of printable ASCII characters without spaces", field=name)
