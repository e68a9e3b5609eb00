"""The guard: canonical framing out, everything else refused, however the bytes are cut."""

from __future__ import annotations

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http.chunked import ChunkGuard
from protocols.http.codec import CodecSettings

SETTINGS = CodecSettings(max_head_bytes=1000)


def feed(data: bytes, step: int) -> tuple[bytes, ChunkGuard]:
    guard = ChunkGuard(SETTINGS)
    out = []
    for start in range(0, len(data), step):
        assert not guard.done
        out.append(guard.feed(data[start : start + step]))
    return b"".join(out), guard


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("data", "canonical"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"A\r\n0123456789\r\n000\r\n\r\n", b"A\r\n0123456789\r\n000\r\n\r\n"),
        (b"5;a=b\r\nhello\r\n0;z\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b'5 \t\r\nhello\r\n0 ; q="x;"\r\n\r\n', b"5\r\nhello\r\n0\r\n\r\n"),
        (b"2\r\n\r\n\r\n3;\xff\r\nabc\r\n0\r\nX: 1\r\n\r\n", b"2\r\n\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"0000000000000001\r\nx\r\n0\r\n\r\n"),
        (b"0\r\n\r\n", b"0\r\n\r\n"),
    ],
)
def test_good_bodies(data: bytes, canonical: bytes, step: int) -> None:
    out, guard = feed(data, step)
    assert out == canonical
    assert guard.done
    assert guard.surplus == b""


@pytest.mark.parametrize("step", [1, 2, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5,5\r\n",
        b"5 x\r\n",
        b"5\n",
        b"5\rx",
        b"5;a\n",
        b"5;a\rb",
        b"5;\x00",
        b"5\x0b",
        b"\xef\xbc\x95\r\n",
        b"00000000000000001\r\n",
        b"5\r\nhelloXY",
        b"5\r\nhello\n0",
        b"5\r\nhello\rX",
        b"3\r\nhello\r\n",
        b"0\r\n\n",
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\nX: 1\rY: 2\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: \x01\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_bad_bodies(data: bytes, step: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        feed(data, step)
    assert caught.value.status == 400


def test_surplus_is_kept_apart() -> None:
    out, guard = feed(b"1\r\na\r\n0\r\n\r\nGET /", 1000)
    assert out == b"1\r\na\r\n0\r\n\r\n"
    assert guard.surplus == b"GET /"


def test_trailers() -> None:
    _, guard = feed(b"0\r\nX-T: 1\r\nHost: b\r\nY:\r\n 2\r\n\r\n", 1000)
    assert guard.trailers is not None
    assert list(guard.trailers.items()) == [(b"x-t", b"1"), (b"y", b"2")]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_limits(step: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        feed(b"0\r\n" + b"X-T: 1234567890\r\n" * 100, step)
    assert (caught.value.status, caught.value.details) == (431, "http1.headers_too_large")
    with pytest.raises(RemoteProtocolError):
        feed(b"5;" + b"a" * 20_000, step)
    with pytest.raises(RemoteProtocolError):
        feed(b"5;" + b"a" * 20_000 + b"\r\n", 100_000)


def test_the_largest_chunk() -> None:
    guard = ChunkGuard(SETTINGS)
    assert guard.feed(b"7fffffffffffffff\r\nhello") == b"7fffffffffffffff\r\nhello"
    assert not guard.done
