"""Connections that must not lead to this machine: looked at where they are made, address by address."""

import socket
from ipaddress import ip_address

from aiohttp import AddrInfoType

from streamproxy.formats.addresses import is_internal


class ForbiddenAddressError(OSError):
    """An address leads to this machine or its neighbourhood."""

    def __init__(self) -> None:
        super().__init__("an address of this machine or its neighbourhood")


def guarded_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for a connection, unless that leads to this machine or its neighbourhood.

    The connector calls it with the very address that it connects to next. So it makes no difference how somebody came
    by that: as a literal in whatever spelling, by a redirect, from a name server or from a cache of its answers.

    Raises:
        ForbiddenAddressError: It does.
        OSError: There is no way to that address, or no socket left.
    """
    family, kind, protocol, _, address = info
    if leads_home(family, address[0]):
        raise ForbiddenAddressError
    return socket.socket(family, kind, protocol)


def leads_home(family: int, address: str | int) -> bool:
    """Tell whether a connection to an address would lead to this machine, its own link or a metadata service.

    Raises:
        OSError: There is no way to it.
    """
    try:
        return is_internal(str(address)) or _is_own(family, str(address))
    except ValueError:  # no numeric address: the system would look it up once more
        return True


def _is_own(family: int, address: str) -> bool:
    """Tell whether an address is one of this machine's own, on any interface.

    To itself, and to nobody else, a machine talks from the very address it talks to. Connecting a datagram socket
    sends nothing.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return ip_address(probe.getsockname()[0]) == ip_address(address)
