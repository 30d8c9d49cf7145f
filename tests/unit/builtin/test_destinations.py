"""Which addresses a request may go to."""

from __future__ import annotations

import pytest

from pgsched.builtin.destinations import Destinations
from pgsched.domain.errors import ConfigError

NOTHING_MORE = Destinations.of(allow_private=False, entries=())
PRIVATE_TOO = Destinations.of(allow_private=True, entries=())

SPECIAL = {
    "a loopback": ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    "a private": (
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
    ),
    "a link-local": ("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254"),
    "a multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "an unspecified": ("0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"),
    "a reserved": (
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.7",
        "240.0.0.1",
        "255.255.255.255",
        "2001:db8::1",
        "100::1",
        "4000::1",
        "::7f00:1",
    ),
}
each_special = pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind, addresses in SPECIAL.items() for address in addresses]
)


@each_special
def test_special_address_is_refused_by_its_kind(kind: str, address: str) -> None:
    assert NOTHING_MORE.refusal("host.example", address) == f"{kind} address"


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_address_is_allowed(address: str) -> None:
    assert NOTHING_MORE.refusal("host.example", address) is None


@pytest.mark.parametrize("address", ["64:ff9b::808:808", "2002:808:808::1"])
def test_ipv6_address_that_stands_for_a_public_one_is_allowed(address: str) -> None:
    assert NOTHING_MORE.refusal("host.example", address) is None


@each_special
def test_private_addresses_can_be_allowed_as_a_whole_and_nothing_else_with_them(kind: str, address: str) -> None:
    allowed = PRIVATE_TOO.refusal("host.example", address) is None
    assert allowed == (kind in ("a private", "a loopback"))


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("10.1.2.3/16", "10.1.9.9", "10.2.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
        ("[::1]", "::1", "127.0.0.1"),
        ("fd00::/8", "fd12::1", "fc00::1"),
        ("169.254.169.254", "169.254.169.254", "169.254.169.253"),
    ],
)
def test_network_that_is_named_is_allowed(entry: str, inside: str, outside: str) -> None:
    named = Destinations.of(allow_private=False, entries=(entry,))
    assert named.refusal("host.example", inside) is None
    assert named.refusal("host.example", outside) is not None


def test_host_that_is_named_may_be_anywhere() -> None:
    named = Destinations.of(allow_private=False, entries=("Intranet.Example.",))
    assert named.refusal("intranet.example", "10.0.0.1") is None
    assert named.refusal("INTRANET.example.", "10.0.0.1") is None
    assert named.refusal("other.example", "10.0.0.1") == "a private address"


@pytest.mark.parametrize("entry", ["", "http://intranet", "a b", "300.1.1.1", "10.0.0.0/33", "*.example", "-x"])
def test_entry_that_is_neither_network_nor_host_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"^http-allow must be a network, an address or a host, got "):
        Destinations.of(allow_private=False, entries=(entry,))
