"""Decides which addresses a request may go to (protection against SSRF). Pure: names are resolved elsewhere.

Any role that may insert rows can write a task, but the worker that sends its request can reach more: other hosts of its
network, services on loopback, the metadata service of a cloud.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pgsched.domain.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
_PRIVATE: list[Network] = [
    *map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    _SHARED,
    *map(ipaddress.IPv6Network, ("fc00::/7", "fec0::/10")),
]


@dataclass(frozen=True)
class Destinations:
    """All public addresses, and those that the operator allows in addition."""

    allow_private: bool
    networks: tuple[Network, ...]
    hosts: frozenset[str]

    @classmethod
    def of(cls, *, allow_private: bool, entries: tuple[str, ...]) -> Destinations:
        """Parse networks, addresses and host names. Raises ConfigError for anything else."""
        networks, hosts = [], set()
        for entry in entries:
            name = entry.strip().lower().strip("[]")
            try:
                networks.append(ipaddress.ip_network(name, strict=False))
            except ValueError:
                if not _HOST.fullmatch(name.rstrip(".")) or name.replace(".", "").isdigit():
                    raise ConfigError(f"http-allow must be a network, an address or a host, got {entry!r}") from None
                hosts.add(name.rstrip("."))
        return cls(allow_private, tuple(networks), frozenset(hosts))

    def refusal(self, host: str, address: str) -> str | None:
        """Return why the address is refused, such as ``a loopback address``; None if it is allowed."""
        ip = ipaddress.ip_address(address)
        if host.rstrip(".").lower() in self.hosts:
            return None
        inner = _embedded(ip)
        if any(one.version == network.version and one in network for one in (ip, inner) for network in self.networks):
            return None
        kind = _kind(inner)
        if kind is None or (self.allow_private and kind in ("a private", "a loopback")):
            return None
        return f"{kind} address"


def _embedded(ip: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 one (mapped, NAT64, 6to4), or else the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _kind(ip: Address) -> str | None:
    """Return the kind of a special address; None for a public one."""
    if ip.is_unspecified or ip in _THIS_NETWORK:
        return "an unspecified"
    if ip.is_loopback:
        return "a loopback"
    if ip.is_link_local:
        return "a link-local"
    if ip.is_multicast:
        return "a multicast"
    if any(ip in network for network in _PRIVATE):
        return "a private"
    if not ip.is_global or (isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST):
        return "a reserved"
    return None
