"""This machine's own address: what stands in `x-forwarded-for` for a client on the loopback (Envoy's local address)."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path
from typing import Final

_LOOPBACK: Final = {False: "127.0.0.1", True: "::1"}

#: linux/sockios.h; struct ifreq holds the interface's name, then the address.
_SIOCGIFADDR: Final = 0x8915
_IFREQ: Final = struct.Struct("16s24x")
_ADDRESS_IN_IFREQ: Final = slice(20, 24)

_IF_INET6: Final = Path("/proc/net/if_inet6")


def local_address(ipv6: bool = False) -> str:
    """The first address of an interface that is no loopback, in the order of the interfaces; the loopback if there is none.

    Asks the kernel alone: no names are resolved, nothing is sent.
    """
    try:
        found = _first_ipv6() if ipv6 else _first_ipv4()
    except (OSError, ValueError):
        found = None
    return found or _LOOPBACK[ipv6]


def _first_ipv4() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in sorted(socket.if_nameindex()):
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, _IFREQ.pack(name.encode()[:15]))
            except OSError:  # an interface without an address
                continue
            address = ipaddress.IPv4Address(answer[_ADDRESS_IN_IFREQ])
            if not address.is_loopback:
                return str(address)
    return None


def _first_ipv6(text: str | None = None) -> str | None:
    """`text`: the kernel's table. Of the addresses of one interface the one with the widest scope comes first."""
    rows = []
    for line in (_IF_INET6.read_text() if text is None else text).splitlines():
        packed, index, _, scope, *_ = line.split()
        rows.append((int(index, 16), int(scope, 16), ipaddress.IPv6Address(bytes.fromhex(packed))))
    addresses = (address for _, _, address in sorted(rows) if not address.is_loopback)
    return next(map(str, addresses), None)
