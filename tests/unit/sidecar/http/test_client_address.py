from __future__ import annotations

import pytest

from config.model.core import CidrRange, PipeAddress, SocketAddress
from protocols.http.headers import Headers
from sidecar.http.client_address import (
    append_forwarded_for,
    compile_internal,
    forwarded_client,
    is_loopback,
    parse_ip,
)

XFF = b"x-forwarded-for"


@pytest.mark.parametrize(
    ("value", "skip", "expected"),
    [
        (b"1.2.3.4", 0, ("1.2.3.4", True)),
        (b" 1.2.3.4\t", 0, ("1.2.3.4", True)),
        (b"1.2.3.4, 10.0.0.9", 0, ("10.0.0.9", False)),
        (b"1.2.3.4, 10.0.0.9", 1, ("1.2.3.4", False)),
        (b"1.2.3.4", 1, None),
        (b"1.2.3.4,", 0, None),
        (b"1.2.3.4,", 1, ("1.2.3.4", False)),
        (b"bogus", 0, None),
        (b"", 0, None),
        (b"1.2.3.4:80", 0, None),
        (b"2001:DB8:0::1", 0, ("2001:db8::1", True)),
        (b"[2001:db8::1]", 0, None),
        (b"1.2.3.04", 0, None),
        (b"fe80::1%eth0", 0, None),
        ("\u0661.2.3.4".encode(), 0, None),
        (b"1.2.3.4\x00", 0, None),
    ],
)
def test_forwarded_client(value: bytes, skip: int, expected: tuple[str, bool] | None) -> None:
    found = forwarded_client(Headers([(XFF, value)]), skip)
    assert (None if found is None else (found.address.address, found.alone)) == expected


def test_no_header_no_client() -> None:
    assert forwarded_client(Headers(), 0) is None


def test_repeated_lines_are_one_list() -> None:
    found = forwarded_client(Headers([(XFF, b"1.1.1.1"), (XFF, b"2.2.2.2")]), 1)
    assert found is not None
    assert found.address == SocketAddress("1.1.1.1", 0)


def test_append() -> None:
    headers = Headers()
    append_forwarded_for(headers, b"1.1.1.1")
    append_forwarded_for(headers, b"2.2.2.2")
    assert headers.get_all(XFF) == [b"1.1.1.1,2.2.2.2"]


def test_internal_ranges() -> None:
    inside = compile_internal((CidrRange("10.0.0.0", 8), CidrRange("fd00::", 8)))
    assert inside(SocketAddress("10.1.2.3", 1))
    assert inside(SocketAddress("fd00::1", 1))
    assert not inside(SocketAddress("11.0.0.1", 1))
    assert not inside(SocketAddress("::ffff:10.0.0.1", 1))
    assert not inside(PipeAddress("/tmp/s"))
    assert not compile_internal(())(SocketAddress("10.1.2.3", 1))


def test_loopback() -> None:
    assert is_loopback(SocketAddress("127.0.0.6", 1))
    assert is_loopback(SocketAddress("::1", 1))
    assert not is_loopback(SocketAddress("10.0.0.1", 1))
    assert not is_loopback(PipeAddress("/tmp/s"))


def test_parsed_addresses_are_canonical() -> None:
    assert parse_ip(b"::FFFF:1.2.3.4") == SocketAddress("::ffff:1.2.3.4", 0)
    assert parse_ip(b"a.example") is None
