"""IP addresses that lead to this machine, or to what only it can reach.

The ranges are written out: what `ipaddress` calls private, global or reserved differs between versions of Python.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_INTERNAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host on this network (RFC 1122, 3.2.1.3); Linux takes 0.0.0.0 for loopback
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local (RFC 3927), with the metadata services of most clouds
        "192.0.0.0/24",  # protocol assignments (RFC 6890); 192.0.0.192 is Oracle's metadata service
        "100.100.100.200/32",  # Alibaba's metadata service
        "168.63.129.16/32",  # Azure's, which answers to virtual machines alone
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved (RFC 1112), with the broadcast address
    )
)
_INTERNAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "::/128",  # unspecified
        "::1/128",  # loopback
        "64:ff9b:1::/48",  # translated for this network alone (RFC 8215): to where, only its translator knows
        "fd00:c1::/32",  # Oracle's metadata service is fd00:c1::a9fe:a9fe
        "fd00:ec2::/32",  # what Amazon gives its machines: fd00:ec2::254 is the metadata service
        "fd20:ce::/32",  # Google's metadata service is fd20:ce::254
        "fe80::/10",  # link-local
        "ff00::/8",  # multicast
    )
)

_ENDS_IN_V4 = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible (RFC 4291, 2.5.5.1)
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291, 2.5.5.2)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765, 2.1)
        "64:ff9b::/96",  # NAT64 (RFC 6052, 2.1)
    )
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ALL_BITS = (1 << 32) - 1


def is_internal(address: str) -> bool:
    """Tell whether an IP address leads to this machine, to its own link, or to a metadata service of its cloud.

    IPv6 addresses that stand for an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are what that is. Those with
    a zone name a link, so they are internal. Private networks (10/8, 192.168/16, fc00::/7, ...) are not: tuners are in
    there. Which addresses this machine has on its interfaces is not known here.

    Args:
        address: IPv4 in four decimal numbers, or IPv6 without brackets: no other spelling.

    Raises:
        ValueError: It is no such address. The text hides it.
    """
    try:
        literal = ip_address(address)
    except ValueError:
        raise ValueError("not an IP address") from None
    if isinstance(literal, IPv4Address):
        return _is_internal_v4(literal)
    if literal.scope_id is not None or any(literal in network for network in _INTERNAL_V6):
        return True
    return any(map(_is_internal_v4, _v4_within(literal)))


def _is_internal_v4(address: IPv4Address) -> bool:
    return any(address in network for network in _INTERNAL_V4)


def _v4_within(address: IPv6Address) -> Iterator[IPv4Address]:
    """Give the IPv4 addresses that packets to an IPv6 address may end up at."""
    number = int(address)
    if any(address in network for network in _ENDS_IN_V4):
        yield IPv4Address(number & _ALL_BITS)
    elif address in _SIX_TO_FOUR:  # RFC 3056, 2
        yield IPv4Address(number >> 80 & _ALL_BITS)
    elif address in _TEREDO:  # RFC 4380, 4: the server, and the client with all bits inverted
        yield IPv4Address(number >> 64 & _ALL_BITS)
        yield IPv4Address(~number & _ALL_BITS)
