"""Addresses that lead to this machine, however they are written."""

import contextlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.addresses import is_internal

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
NEAR = st.sampled_from(
    ["0.0.0.0", "10.0.0.1", "126.255.255.255", "127.0.0.1", "127.255.255.255", "128.0.0.0", "169.254.169.254"]
).map(IPv4Address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.255.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "0:0:0:0:0:0:0:1",
        "fe80::1",
        "febf::1",
        "FE80::1",
        "fe80::1%eth0",
        "2001:db8::1%1",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "::ffff:127.0.0.1",
        "::FFFF:7F00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe:1:2:3:4:5",
        "2001:0:7f00:1:0:0:f7f7:f7f7",
        "2001:0:808:808:0:0:80ff:fffe",
    ],
)
def test_what_leads_to_this_machine_or_its_neighbourhood_is_internal(address: str) -> None:
    assert is_internal(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "8.8.8.8",
        "10.0.0.1",
        "100.64.0.1",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.16.0.1",
        "192.0.1.0",
        "192.168.1.1",
        "223.255.255.255",
        "2001:db8::1",
        "2606:4700::1111",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "fe7f::1",
        "::ffff:192.168.1.1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808:0:0:f7f7:f7f7",
        "2001:1:7f00:1::",
    ],
)
def test_private_networks_and_the_internet_are_not(address: str) -> None:
    assert not is_internal(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "127.0.0.01",
        "127.0.0.1.",
        "[::1]",
        "127.0.0.1:80",
        "127.0.0.1/8",
        " 127.0.0.1",
        "①②⑦.0.0.1",
        "::1::",
        "fe80::1%",
    ],
)
def test_what_is_no_address_is_said_to_be_none_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"\Anot an IP address\Z"):
        is_internal(text)


@given(V4 | NEAR)
def test_an_address_in_an_envelope_is_what_it_is_without(inner: IPv4Address) -> None:
    number = int(inner)
    envelopes = {
        "compatible": number,
        "mapped": 0xFFFF << 32 | number,
        "translated": 0xFFFF << 48 | number,
        "NAT64": 0x64FF9B << 96 | number,
        "6to4": 0x2002 << 112 | number << 80 | 0xDB8,
        "Teredo's client": 0x2001 << 112 | 0x08080808 << 64 | number ^ 0xFFFFFFFF,
        "Teredo's server": 0x2001 << 112 | number << 64 | 0xF7F7F7F7,
    }

    told = {name: is_internal(str(IPv6Address(envelope))) for name, envelope in envelopes.items()}

    assert told == dict.fromkeys(envelopes, is_internal(str(inner)))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_an_address_is_the_same_in_every_spelling(address: IPv6Address) -> None:
    assert is_internal(address.exploded.upper()) == is_internal(address.compressed)


@given(st.text())
def test_any_text_is_told_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        is_internal(text)
