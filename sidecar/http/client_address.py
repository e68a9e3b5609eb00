"""Who the client is when proxies stand before us: `x-forwarded-for` and the internal address ranges."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from config.model.core import Address, CidrRange, SocketAddress
from protocols.http.headers import Headers

IsInternal: TypeAlias = Callable[[Address], bool]

_XFF: Final = b"x-forwarded-for"


class ForwardedClient(NamedTuple):
    """An address found in `x-forwarded-for`, and whether it was the only one (only then may it count as internal)."""

    address: SocketAddress
    alone: bool


def forwarded_client(headers: Headers, num_to_skip: int) -> ForwardedClient | None:
    """The last address of `x-forwarded-for`, after `num_to_skip` trusted ones from the end; None if that is no address."""
    value = headers.joined(_XFF)
    if value is None:
        return None
    parts = value.split(b",")
    index = len(parts) - 1 - num_to_skip
    if index < 0:
        return None
    address = parse_ip(parts[index].strip(b" \t"))
    return ForwardedClient(address, len(parts) == 1 and num_to_skip == 0) if address is not None else None


@lru_cache(maxsize=4096)
def parse_ip(text: bytes) -> SocketAddress | None:
    """An IP address without a port, in canonical form; None for anything else."""
    family = socket.AF_INET6 if b":" in text else socket.AF_INET
    try:
        packed = socket.inet_pton(family, text.decode("ascii"))
    except (OSError, ValueError):
        return None
    return SocketAddress(socket.inet_ntop(family, packed), 0)


def append_forwarded_for(headers: Headers, address: bytes) -> None:
    value = headers.joined(_XFF)
    headers.set(_XFF, b"%b,%b" % (value, address) if value else address)


@lru_cache(maxsize=4096)
def is_loopback(address: Address) -> bool:
    return isinstance(address, SocketAddress) and _ip(address.address).is_loopback


def compile_internal(ranges: tuple[CidrRange, ...]) -> IsInternal:
    """Whether an address is inside the mesh. Without ranges none is; Unix domain sockets never are."""
    networks = tuple(
        ipaddress.ip_network(f"{each.address_prefix}/{each.prefix_len}", strict=False) for each in ranges
    )

    def is_inside(text: str) -> bool:
        ip = _ip(text)
        return any(ip in network for network in networks)

    inside = lru_cache(maxsize=4096)(is_inside)
    return lambda address: inside(address.address) if isinstance(address, SocketAddress) else False


_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(text: str) -> _Ip:
    return ipaddress.ip_address(text)
