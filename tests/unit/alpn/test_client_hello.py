"""ClientHello parsing: real ones from OpenSSL, built ones for the corners."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpn.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, Incomplete, NotTls, parse_client_hello
from alpn.detection import Detection


def real_hello(server_name: str | None, alpn: list[str]) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, data)


def server_name(name: bytes) -> bytes:
    return extension(0, vector(2, b"\0" + vector(2, name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def message(extensions: bytes | None, version: bytes = b"\x03\x03") -> bytes:
    body = version + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return b"\x01" + vector(3, body)


def record(payload: bytes) -> bytes:
    return b"\x16\x03\x01" + vector(2, payload)


SNI = "outbound_.9080_._.reviews.default.svc.cluster.local"
ISTIO = ["istio-peer-exchange", "istio"]


def test_reads_what_openssl_writes() -> None:
    hello = parse_client_hello(real_hello(SNI, ISTIO))
    assert hello == ClientHello(SNI, tuple(ISTIO))
    assert isinstance(hello, ClientHello)
    assert hello.detection == Detection("tls", SNI, tuple(ISTIO))


def test_nothing_said() -> None:
    assert parse_client_hello(real_hello(None, [])) == ClientHello()


def test_every_shorter_piece_is_incomplete() -> None:
    data = real_hello(SNI, ISTIO)
    for end in range(len(data)):
        assert isinstance(parse_client_hello(data[:end]), Incomplete), end


def test_bytes_behind_the_hello_do_not_matter() -> None:
    data = real_hello(SNI, ISTIO)
    assert parse_client_hello(data + b"\x17\x03\x03\x00\x01x") == parse_client_hello(data)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_hello_over_many_records(size: int) -> None:
    whole = message(server_name(b"Reviews.Example") + alpn(b"h2", b"http/1.1"))
    data = b"".join(record(whole[at : at + size]) for at in range(0, len(whole), size))
    assert parse_client_hello(data) == ClientHello("reviews.example", ("h2", "http/1.1"))
    assert isinstance(parse_client_hello(data[:-1]), Incomplete)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x02\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        record(b"\x02\x00\x00\x01x"),
        record(b"\x01\xff\xff\xff"),
        record(message(b"", version=b"\x02\x00")),
        record(b"\x01" + vector(3, b"\x03\x03short")),
        record(message(b"\x00\x10\x00\x05abc")),
        record(message(alpn(b""))),
        record(message(extension(16, vector(2, b"\x05ab")))),
        record(message(extension(0, b"\x00\x09\x00"))),
    ],
)
def test_not_tls(data: bytes) -> None:
    assert isinstance(parse_client_hello(data), NotTls)


def test_no_extensions_at_all() -> None:
    assert parse_client_hello(record(message(None))) == ClientHello()


@pytest.mark.parametrize("name", [b"", b"a\0b", b"a b", b"\xc3\xa9", b"x" * 254, b'a"b', b"a\r\nb"])
def test_a_name_that_is_no_host_name_is_dropped(name: bytes) -> None:
    assert parse_client_hello(record(message(server_name(name) + alpn(b"h2")))) == ClientHello("", ("h2",))


def test_alpn_names_are_opaque() -> None:
    assert parse_client_hello(record(message(alpn(b"\x8a\x8a", b"h2")))) == ClientHello(
        "", ("\x8a\x8a", "h2")
    )


def test_too_long_a_hello() -> None:
    whole = message(extension(21, bytes(16500)))
    data = b"".join(record(whole[at : at + 8000]) for at in range(0, len(whole), 8000))
    assert isinstance(parse_client_hello(data), NotTls)


def test_endless_small_records_end() -> None:
    data = record(b"\x01\x00\x40") + record(b"\x00") * 4000
    assert isinstance(parse_client_hello(data[:1000]), Incomplete)
    assert isinstance(parse_client_hello(data[:2000]), NotTls)


def test_all_bytes_seen_and_still_no_end() -> None:
    whole = message(extension(21, bytes(16330)))
    data = b"".join(record(whole[at : at + 8000]) for at in range(0, len(whole), 8000))
    assert isinstance(parse_client_hello(data[: MAX_CLIENT_HELLO_BYTES - 1]), Incomplete)
    assert isinstance(parse_client_hello(data[:MAX_CLIENT_HELLO_BYTES]), NotTls)


def test_a_long_hello_within_the_limit() -> None:
    whole = message(server_name(b"a.b") + extension(21, bytes(16000)))
    assert parse_client_hello(record(whole)) == ClientHello("a.b")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_raises_nothing(noise: bytes, at: int) -> None:
    data = bytearray(record(message(server_name(b"a.b") + alpn(b"h2"))))
    data[at % len(data) : at % len(data) + len(noise)] = noise
    assert isinstance(parse_client_hello(bytes(data)), ClientHello | Incomplete | NotTls)
