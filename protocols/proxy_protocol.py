"""The PROXY protocol, versions 1 and 2: who a load balancer in front of us speaks for.

Read from everything received so far, without consuming it; strict, because the addresses decide about access. Written
for upstreams that want to know. (HAProxy's specification, sections 2.1 and 2.2.)
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from protocols.errors import LocalProtocolError, RemoteProtocolError

#: Longest v2 header that is accepted: the fixed part and as much of addresses and TLVs as any balancer sends.
MAX_HEADER_BYTES: Final = 16 + 4096

_V1_START: Final = b"PROXY "
_V1_MAX_BYTES: Final = 107
_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED_BYTES: Final = 16

_V1_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+)"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)

#: An IP address in canonical text, and a port.
Endpoint: TypeAlias = tuple[str, int]


class Incomplete:
    """More bytes are needed."""

    __slots__ = ()


class NotProxyProtocol:
    """The bytes begin with neither version's signature."""

    __slots__ = ()


_INCOMPLETE: Final = Incomplete()
_NOT_PROXY: Final = NotProxyProtocol()


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """`source` is the real client, `destination` what it connected to.

    Both are None when the balancer speaks for itself (`LOCAL`, `UNKNOWN`, address families other than IP): then the
    connection's own addresses hold. `size_bytes` is how much the header takes; `tlvs` are kept as they came (v2).
    """

    version: int
    size_bytes: int
    source: Endpoint | None = None
    destination: Endpoint | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


def parse_proxy_header(data: bytes) -> ProxyHeader | Incomplete | NotProxyProtocol:
    """Judge everything received so far; call again with more after `Incomplete`.

    Raises RemoteProtocolError for bytes that begin like a header and then are none.
    """
    if data.startswith(_V1_START):
        return _parse_v1(data)
    if data.startswith(_V2_SIGNATURE):
        return _parse_v2(data)
    if _V1_START.startswith(data) or _V2_SIGNATURE.startswith(data):
        return _INCOMPLETE
    return _NOT_PROXY


def _error(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"proxy_protocol.{reason}")


def _parse_v1(data: bytes) -> ProxyHeader | Incomplete:
    end = data.find(b"\n", 0, _V1_MAX_BYTES)
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise _error("v1_too_long")
        return _INCOMPLETE
    line = data[: end + 1]
    found = _V1_LINE.fullmatch(line)
    if found is None:
        raise _error("v1_malformed")
    family = found.group(1)
    if family is None:
        return ProxyHeader(1, len(line))
    version = 4 if family == b"TCP4" else 6
    return ProxyHeader(
        1,
        len(line),
        _v1_endpoint(found.group(2), found.group(4), version),
        _v1_endpoint(found.group(3), found.group(5), version),
    )


def _v1_endpoint(address: bytes, port: bytes, version: int) -> Endpoint:
    try:
        parsed = ipaddress.ip_address(address.decode("ascii"))
    except ValueError:
        raise _error("v1_malformed") from None
    number = int(port)  # the grammar let ASCII digits only through
    if parsed.version != version or number > 65535:
        raise _error("v1_malformed")
    return str(parsed), number


#: Address family and transport of byte 13 -> bytes of one address.
_V2_TCP_FAMILIES: Final = {0x11: 4, 0x21: 16}
_V2_MIN_BYTES: Final = {0x1: 12, 0x2: 36, 0x3: 216}


def _parse_v2(data: bytes) -> ProxyHeader | Incomplete:
    if len(data) < _V2_FIXED_BYTES:
        return _INCOMPLETE
    version_command, family, length = struct.unpack_from(">BBH", data, 12)
    if version_command >> 4 != 2:
        raise _error("v2_version")
    command = version_command & 0x0F
    if command > 1:
        raise _error("v2_command")
    if family >> 4 > 3 or family & 0x0F > 2:
        raise _error("v2_family")
    size = _V2_FIXED_BYTES + length
    if size > MAX_HEADER_BYTES:
        raise _error("v2_too_long")
    if len(data) < size:
        return _INCOMPLETE
    if command == 0:
        return ProxyHeader(2, size)  # LOCAL: whatever follows is to be skipped
    addresses = _V2_MIN_BYTES.get(family >> 4, 0)
    if length < addresses:
        raise _error("v2_addresses_cut_short")
    tlvs = _tlvs(data[_V2_FIXED_BYTES + addresses : size])
    width = _V2_TCP_FAMILIES.get(family)
    if width is None:
        return ProxyHeader(2, size, tlvs=tlvs)
    source = data[16 : 16 + width]
    destination = data[16 + width : 16 + 2 * width]
    source_port, destination_port = struct.unpack_from(">HH", data, 16 + 2 * width)
    return ProxyHeader(
        2, size, (_address_text(source), source_port), (_address_text(destination), destination_port), tlvs
    )


def _address_text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Type, length, value (section 2.2.1 of the specification); lengths must fill the space exactly."""
    return tuple(_split_tlvs(data))


def _split_tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise _error("v2_tlv_cut_short")
        kind, length = struct.unpack_from(">BH", data, at)
        end = at + 3 + length
        if end > len(data):
            raise _error("v2_tlv_cut_short")
        yield kind, data[at + 3 : end]
        at = end


def write_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """A v1 line; `UNKNOWN` without addresses. Raises LocalProtocolError for addresses that are none."""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    source_ip, destination_ip = _pair(source, destination)
    family = "TCP4" if source_ip.version == 4 else "TCP6"
    return f"PROXY {family} {source_ip} {destination_ip} {source[1]} {destination[1]}\r\n".encode("ascii")


def write_v2(
    source: Endpoint | None, destination: Endpoint | None, tlvs: tuple[tuple[int, bytes], ...] = ()
) -> bytes:
    """A v2 header; `LOCAL` without addresses. Raises LocalProtocolError for addresses or TLVs that do not fit."""
    if source is None or destination is None:
        return _V2_SIGNATURE + struct.pack(">BBH", 0x20, 0, 0)
    source_ip, destination_ip = _pair(source, destination)
    body = (
        source_ip.packed
        + destination_ip.packed
        + struct.pack(">HH", source[1], destination[1])
        + b"".join(_pack_tlv(kind, value) for kind, value in tlvs)
    )
    if _V2_FIXED_BYTES + len(body) > MAX_HEADER_BYTES:
        raise LocalProtocolError("PROXY header is too long")
    family = 0x11 if source_ip.version == 4 else 0x21
    return _V2_SIGNATURE + struct.pack(">BBH", 0x21, family, len(body)) + body


def _pack_tlv(kind: int, value: bytes) -> bytes:
    if not 0 <= kind <= 255 or len(value) > 65535:
        raise LocalProtocolError("PROXY TLV does not fit")
    return struct.pack(">BH", kind, len(value)) + value


_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _pair(source: Endpoint, destination: Endpoint) -> tuple[_Address, _Address]:
    """Both addresses in one family: a mixed pair is written as IPv6, the IPv4 side mapped."""
    try:
        first, second = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    except ValueError as error:
        raise LocalProtocolError("PROXY header needs IP addresses") from error
    if not (0 <= source[1] <= 65535 and 0 <= destination[1] <= 65535):
        raise LocalProtocolError("PROXY header needs ports")
    if first.version == second.version:
        return first, second
    return _mapped(first), _mapped(second)


def _mapped(address: _Address) -> _Address:
    return address if address.version == 6 else ipaddress.IPv6Address(f"::ffff:{address}")
