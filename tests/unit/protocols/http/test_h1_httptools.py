from __future__ import annotations

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http import h1_httptools
from protocols.http.codec import Codec, CodecSettings
from tests.unit.protocols.http.recorder import Recorder

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_factories_give_codecs() -> None:
    server: Codec = h1_httptools.server_codec(Recorder(), CodecSettings())
    client: Codec = h1_httptools.client_codec(Recorder(), CodecSettings())
    assert server.idle
    assert client.idle


def test_llhttp_decodes_what_the_guard_passed() -> None:
    sink = Recorder()
    codec = h1_httptools.server_codec(sink, CodecSettings())
    codec.receive(CHUNKED + b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n")
    assert sink.events[1:] == [("data", 1, b"abcde", True)]


def test_a_disagreement_of_guard_and_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class LaxGuard:
        done = True
        surplus = b""
        trailers = None

        def __init__(self, settings: CodecSettings) -> None: ...

        def feed(self, data: bytes) -> bytes:
            return data

    monkeypatch.setattr(h1_httptools, "ChunkGuard", LaxGuard)
    for body in (b"5\r\nhello\r\n", b"x\r\n"):
        with pytest.raises(RemoteProtocolError):
            h1_httptools.server_codec(Recorder(), CodecSettings()).receive(CHUNKED + body)
