"""gRPC-Web, the form of gRPC for clients that see no trailers: they are sent as a last message of the body.

In its text form bodies are base64, as segments that are each padded on its own. Sources: PROTOCOL-WEB.md of grpc, and Envoy.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from typing import Final

from protocols.errors import RemoteProtocolError
from protocols.grpc.framing import MessageCounter, frame
from protocols.http.headers import Headers

BINARY_TYPES: Final = frozenset((b"application/grpc-web", b"application/grpc-web+proto"))
TEXT_TYPES: Final = frozenset((b"application/grpc-web-text", b"application/grpc-web-text+proto"))
BINARY_RESPONSE: Final = b"application/grpc-web+proto"
TEXT_RESPONSE: Final = b"application/grpc-web-text+proto"

#: The flag of the message that holds the trailers.
_TRAILERS_FLAG: Final = 0x80

#: One padded segment, or what comes behind the last one.
_SEGMENT: Final = re.compile(rb"[^=]*=+|[^=]+")
_QUANTUM: Final = 4  # characters that stand for up to three bytes


def trailers_frame(trailers: Headers) -> bytes:
    """Trailers as a message: `name:value` and CRLF each, in Envoy's spelling (no blank)."""
    return frame(b"".join([b"%b:%b\r\n" % field for field in trailers.items()]), _TRAILERS_FLAG)


def encode_segment(data: bytes) -> bytes:
    """One padded segment."""
    return b2a_base64(data, newline=False)


class TextEncoder:
    """Base64 of a stream of messages, each a segment of its own, so that a client can read it as soon as it is there.

    Of a message in progress all goes out that makes whole groups of three bytes: nothing long is kept. What is not cut into
    messages (a broken upstream) is encoded all the same; to judge it is the client's matter.
    """

    __slots__ = ("_counter", "_rest")

    def __init__(self) -> None:
        self._counter = MessageCounter()
        self._rest = b""  # at most two bytes

    def feed(self, data: bytes) -> bytes:
        """The text of this piece; may be empty."""
        counter, text = self._counter, []
        at, size = 0, len(data)
        while at < size:
            end = counter.advance(data, at)
            piece = self._rest + data[at:end]
            at = end
            whole = len(piece) if counter.between_messages else len(piece) // 3 * 3
            self._rest = piece[whole:]
            text.append(encode_segment(piece[:whole]))
        return b"".join(text)

    def finish(self) -> bytes:
        """What is left of a message that was cut off."""
        rest, self._rest = self._rest, b""
        return encode_segment(rest)


class TextDecoder:
    """The bytes of base64 text that comes in pieces cut anywhere.

    Padding is mandatory; it may end a segment anywhere in the text, also in the middle of a piece, where Envoy would refuse
    it. The alphabet is the standard one, without white space; bits that padding makes meaningless must be 0.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""  # at most three characters

    def feed(self, text: bytes) -> bytes:
        """The bytes of all whole groups of four characters. May raise RemoteProtocolError, with Envoy's details."""
        text = self._rest + text
        whole = len(text) // _QUANTUM * _QUANTUM
        self._rest = text[whole:]
        text = text[:whole]
        try:
            if b"=" not in text:
                return a2b_base64(text, strict_mode=True)
            return b"".join([_decode_segment(segment) for segment in _SEGMENT.findall(text)])
        except Error:
            raise RemoteProtocolError("grpc_base_64_decode_failed") from None

    def finish(self) -> None:
        """The text is over: raises RemoteProtocolError if it ends within a group of four."""
        if self._rest:
            raise RemoteProtocolError("grpc_base_64_decode_failed_bad_size")


def _decode_segment(segment: bytes) -> bytes:
    if len(segment) % _QUANTUM:
        raise Error("a segment that is not padded")
    last = segment[-_QUANTUM:]
    tail = a2b_base64(last, strict_mode=True)
    if encode_segment(tail) != last:
        raise Error("bits behind the last byte")
    return a2b_base64(segment[:-_QUANTUM], strict_mode=True) + tail
