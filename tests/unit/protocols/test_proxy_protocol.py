"""PROXY protocol headers, read strictly and written so that they are read back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.proxy_protocol import (
    MAX_HEADER_BYTES,
    Incomplete,
    NotProxyProtocol,
    ProxyHeader,
    parse_proxy_header,
    write_v1,
    write_v2,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = (("192.0.2.1", 56324), ("198.51.100.7", 443))
V6 = (("2001:db8::1", 1), ("2001:db8::2", 65535))


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", *V4),
        (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 1 65535\r\n", *V6),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 0\r\n", ("0.0.0.0", 0), ("255.255.255.255", 0)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, None),
    ],
)
def test_v1(line: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None) -> None:
    assert parse_proxy_header(line + b"GET /") == ProxyHeader(1, len(line), source, destination)
    for end in range(len(line)):
        assert isinstance(parse_proxy_header(line[:end]), Incomplete), end


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 +56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 056324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.7 1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN\x01\r\n",
        b"PROXY " + b"A" * 120,
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY TCP4 \xd9\xa1.2.3.4 1.2.3.4 1 2\r\n",
    ],
)
def test_v1_is_strict(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_proxy_header(line)


def v2(version_command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return (
        SIGNATURE
        + struct.pack(">BBH", version_command, family, len(body) if length is None else length)
        + body
    )


ADDRESSES = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack(">HH", 56324, 443)
TLV = b"\x02\x00\x03abc"


def test_v2_ipv4_with_tlvs() -> None:
    data = v2(0x21, 0x11, ADDRESSES + TLV + b"\x04\x00\x00")
    assert parse_proxy_header(data + b"rest") == ProxyHeader(2, len(data), *V4, ((2, b"abc"), (4, b"")))
    for end in range(len(data)):
        assert isinstance(parse_proxy_header(data[:end]), Incomplete), end


@pytest.mark.parametrize(
    "data",
    [
        v2(0x20, 0x00, b""),
        v2(0x20, 0x11, ADDRESSES),
        v2(0x20, 0x00, b"anything"),
        v2(0x21, 0x00, b""),
        v2(0x21, 0x31, bytes(216)),
        v2(0x21, 0x12, ADDRESSES),
    ],
)
def test_v2_without_usable_addresses(data: bytes) -> None:
    header = parse_proxy_header(data)
    assert isinstance(header, ProxyHeader)
    assert (header.source, header.destination, header.size_bytes) == (None, None, len(data))


@pytest.mark.parametrize(
    "data",
    [
        v2(0x11, 0x11, ADDRESSES),
        v2(0x22, 0x11, ADDRESSES),
        v2(0x21, 0x41, ADDRESSES),
        v2(0x21, 0x13, ADDRESSES),
        v2(0x21, 0x11, ADDRESSES[:-1]),
        v2(0x21, 0x21, ADDRESSES),
        v2(0x21, 0x11, ADDRESSES + b"\x02\x00"),
        v2(0x21, 0x11, ADDRESSES + b"\x02\x00\x09abc"),
        v2(0x21, 0x11, b"", length=65535),
    ],
)
def test_v2_is_strict(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_proxy_header(data)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXZ", b"\r\n\r\nGET", b"\x16\x03\x01"])
def test_not_proxy(data: bytes) -> None:
    assert isinstance(parse_proxy_header(data), NotProxyProtocol)


@pytest.mark.parametrize("pair", [V4, V6])
def test_what_is_written_is_read(pair: tuple[tuple[str, int], tuple[str, int]]) -> None:
    one = write_v1(*pair)
    assert parse_proxy_header(one) == ProxyHeader(1, len(one), *pair)
    two = write_v2(*pair, ((0xEA, b"value"),))
    assert parse_proxy_header(two) == ProxyHeader(2, len(two), *pair, ((0xEA, b"value"),))


def test_without_addresses() -> None:
    assert write_v1(None, None) == b"PROXY UNKNOWN\r\n"
    assert parse_proxy_header(write_v2(None, None)) == ProxyHeader(2, 16)


def test_mixed_families_become_ipv6() -> None:
    written = parse_proxy_header(write_v1(V4[0], V6[1]))
    assert isinstance(written, ProxyHeader)
    assert written.source in (("::ffff:192.0.2.1", 56324), ("::ffff:c000:201", 56324))
    assert written.destination == V6[1]


@pytest.mark.parametrize(
    ("source", "tlvs"),
    [
        (("example.com", 1), ()),
        (("192.0.2.1", 65536), ()),
        (("192.0.2.1", 1), ((256, b""),)),
        (("192.0.2.1", 1), ((1, bytes(MAX_HEADER_BYTES)),)),
        (("192.0.2.1", 1), ((1, bytes(65536)),)),
    ],
)
def test_what_cannot_be_written(source: tuple[str, int], tlvs: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(LocalProtocolError):
        write_v2(source, V4[1], tlvs)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=200))
def test_garbage_raises_nothing_else(start: bytes, noise: bytes) -> None:
    try:
        found = parse_proxy_header(start + noise)
    except RemoteProtocolError:
        return
    assert isinstance(found, ProxyHeader | Incomplete | NotProxyProtocol)
