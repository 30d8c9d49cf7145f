"""The client address of a request that trusted proxies have forwarded."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """Trusts X-Forwarded-For and X-Forwarded-Proto from these addresses and networks.

    Each proxy appends the address of its client; entries before that are whatever the client wrote. So the last entry
    counts. An entry further to the left counts only when the one after it is itself a trusted proxy that is named by
    its address: a trusted network covers the proxy that connects to us, not the addresses of its clients, any of which
    could otherwise forge its own address.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        networks = [ipaddress.ip_network(one) for one in trusted]
        self._networks = networks
        self._proxies = {one.network_address for one in networks if one.num_addresses == 1}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        peer = scope["client"][0] if scope["type"] == "http" and scope.get("client") else None
        if peer is not None and self._is_trusted(peer):
            headers = Headers(scope=scope)
            scope = {**scope, "client": (self._client(peer, headers.getlist("x-forwarded-for")), 0)}
            protocol = headers.getlist("x-forwarded-proto")
            scheme = protocol[-1].rpartition(",")[2].strip().lower() if protocol else ""
            if scheme in ("http", "https"):
                scope["scheme"] = scheme
        await self._app(scope, receive, send)

    def _is_trusted(self, peer: str) -> bool:
        address = address_of(peer)
        return address is not None and any(address in network for network in self._networks)

    def _client(self, peer: str, lines: list[str]) -> str:
        client = peer
        for hop in reversed([hop for line in lines for hop in line.split(",")]):
            address = address_of(hop)
            if (
                address is None
            ):  # An invalid entry names no client: the proxy that forwarded it is the last known address.
                return client
            client = str(address)
            if address not in self._proxies:
                return client
        return client


def address_of(text: str) -> Address | None:
    """Return the address of ``ADDRESS``, ``IPV4:PORT`` or ``[IPV6]:PORT``; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
