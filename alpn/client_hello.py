"""SNI and ALPN offer from the first bytes of a connection, without consuming them.

Needed because the ClientHello decides the filter chain, and the chain decides whose certificate is shown: TLS itself can
only start afterwards. Reads no more than one ClientHello of 16 KiB, which may be split over several TLS records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from alpn.detection import INCOMPLETE, TLS, Detection
from alpn.detection import Incomplete as Incomplete

#: Longest handshake message that is looked at: Envoy's limit for a ClientHello.
MAX_CLIENT_HELLO_BYTES: Final = 16384 + 5

_RECORD_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 1
_RECORD_HEADER_BYTES: Final = 5
_MAX_RECORD_BYTES: Final = 16384

#: Records that one ClientHello may be split over. Each call starts anew, so this bounds what a byte can cost.
_MAX_RECORDS: Final = 256

_EXTENSION_SERVER_NAME: Final = 0
_EXTENSION_ALPN: Final = 16
_NAME_TYPE_HOST: Final = 0

#: RFC 6066 section 3: an ASCII host name. Underscores are Istio's. A name with anything else is not passed on.
_HOST_NAME: Final = re.compile(rb"[A-Za-z0-9._*-]{1,253}\Z")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client said: SNI in lower case ("" if none or not a host name), ALPN names in its order."""

    server_name: str = ""
    alpn: tuple[str, ...] = ()

    @property
    def detection(self) -> Detection:
        return Detection(TLS, self.server_name, self.alpn)


@dataclass(frozen=True, slots=True)
class NotTls:
    """The bytes are no ClientHello. `reason` is for people."""

    reason: str


#: What comes of a first message that is larger than anybody may send.
TOO_LONG: Final = NotTls("ClientHello is too long")


def parse_client_hello(data: bytes) -> ClientHello | Incomplete | NotTls:
    """Judge everything received so far; call again with more after `Incomplete`. Raises nothing.

    A ClientHello that is cut short or contradicts itself gives `NotTls`: nobody could finish a handshake with it.
    """
    found = _collect(data)
    if not isinstance(found, bytes):
        return found
    try:
        return _read_hello(_Reader(found))
    except _Malformed as error:
        return NotTls(str(error))


def _collect(data: bytes) -> bytes | Incomplete | NotTls:
    """The body of the first handshake message, joined from as many records as it takes."""
    pieces: list[bytes] = []
    have = 0
    wanted = -1
    at = 0
    cut_short = INCOMPLETE if len(data) < MAX_CLIENT_HELLO_BYTES else TOO_LONG
    for _ in range(_MAX_RECORDS):
        header = data[at : at + _RECORD_HEADER_BYTES]
        problem = _record_problem(header)
        if problem:
            return NotTls(problem)
        if len(header) < _RECORD_HEADER_BYTES:
            return cut_short
        length = int.from_bytes(header[3:5], "big")
        body = data[at + _RECORD_HEADER_BYTES : at + _RECORD_HEADER_BYTES + length]
        pieces.append(body)
        have += len(body)
        if wanted < 0 and have:
            start = b"".join(pieces)
            if start[0] != _CLIENT_HELLO:
                return NotTls("first message is not a ClientHello")
            if have >= 4:
                wanted = 4 + int.from_bytes(start[1:4], "big")
                if wanted > MAX_CLIENT_HELLO_BYTES:
                    return TOO_LONG
        if 0 <= wanted <= have:
            return b"".join(pieces)[4:wanted]
        if len(body) < length:
            return cut_short
        at += _RECORD_HEADER_BYTES + length
    return NotTls("ClientHello is in too many records")


def _record_problem(header: bytes) -> str:
    """What is wrong with as much of a record header as is there (RFC 8446 section 5.1)."""
    if header and header[0] != _RECORD_HANDSHAKE:
        return "not a TLS handshake record"
    if len(header) >= 2 and header[1] != 3:
        return "not a TLS version"
    if len(header) == _RECORD_HEADER_BYTES:
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= _MAX_RECORD_BYTES:
            return "record of no or too much data"
    return ""


class _Malformed(Exception):
    """A length points outside of what there is."""


class _Reader:
    """Takes counted vectors off a byte string (RFC 8446 section 3.4)."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Malformed("ClientHello is cut short")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> bytes:
        return self.take(self.number(length_size))


def _read_hello(hello: _Reader) -> ClientHello:
    """RFC 8446 section 4.1.2."""
    if hello.take(2)[0] != 3:
        raise _Malformed("not a TLS version")
    hello.take(32)  # random
    hello.vector(1)  # legacy session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    server_name = ""
    alpn: tuple[str, ...] = ()
    if not hello.at_end:
        extensions = _Reader(hello.vector(2))
        while not extensions.at_end:
            kind = extensions.number(2)
            body = extensions.vector(2)
            if kind == _EXTENSION_SERVER_NAME:
                server_name = _read_server_name(_Reader(body))
            elif kind == _EXTENSION_ALPN:
                alpn = _read_alpn(_Reader(body))
    return ClientHello(server_name, alpn)


def _read_server_name(body: _Reader) -> str:
    names = _Reader(body.vector(2))
    while not names.at_end:
        kind = names.number(1)
        name = names.vector(2)
        if kind == _NAME_TYPE_HOST:
            return name.decode("ascii").lower() if _HOST_NAME.match(name) else ""
    return ""


def _read_alpn(body: _Reader) -> tuple[str, ...]:
    """Names are opaque bytes; those that are not ASCII (GREASE of RFC 8701 among them) become Latin-1 text."""
    names = _Reader(body.vector(2))
    found: list[str] = []
    while not names.at_end:
        name = names.vector(1)
        if not name:
            raise _Malformed("empty ALPN name")
        found.append(name.decode("latin-1"))
    return tuple(found)
