"""Is plaintext HTTP, and which version: the rules of Envoy's `http_inspector`."""

from __future__ import annotations

import re
from typing import Final

from alpn.detection import INCOMPLETE
from alpn.detection import Incomplete as Incomplete
from alpn.names import H2C, HTTP_10, HTTP_11

#: How far a request line is followed before giving up (Envoy: 64 KiB).
MAX_PREFACE_BYTES: Final = 65536

#: RFC 9113 section 3.4.
H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: RFC 9110 section 5.6.2: a method is a token, known or not. Anything else as the first byte is another protocol.
_TOKEN_BYTES: Final = rb"!#$%&'*+.^_`|~0-9A-Za-z-"
_TOKEN_START: Final = re.compile(b"[" + _TOKEN_BYTES + b"]")

#: As Envoy's HTTP/1 parser splits it: method, target and version apart by controls and spaces, any number of them.
_REQUEST_LINE: Final = re.compile(
    b"(["
    + _TOKEN_BYTES
    + rb"]+)[\x00-\x20]+([^\x00-\x20]+)(?:[\x00-\x20]+(HTTP/[0-9]\.[0-9]))?[\x00-\x20]*\Z"
)

#: Path or `*`; or scheme, `://` and an authority.
_TARGET: Final = re.compile(rb"(?:[/*]|[A-Za-z][A-Za-z0-9+.-]*://)[!-~]*\Z")
_CONNECT_TARGET: Final = re.compile(rb"[!-~]+\Z")


def inspect_http(data: bytes) -> str | Incomplete | None:
    """`http/1.0`, `http/1.1`, `h2c`, None when it is not HTTP, or `Incomplete`. Raises nothing.

    `data` is everything received so far. Needed are a whole request line, or the whole HTTP/2 preface. As in Envoy every
    version but 1.1, none at all among them, counts as 1.0: the codec will refuse it.
    """
    start = data[: len(H2_PREFACE)]
    if H2_PREFACE.startswith(start):  # an empty start too
        return H2C if len(start) == len(H2_PREFACE) else INCOMPLETE
    if _TOKEN_START.match(data) is None:
        return None
    end = data.find(b"\n", 0, MAX_PREFACE_BYTES)
    if end < 0:
        return INCOMPLETE if len(data) < MAX_PREFACE_BYTES else None
    line = _REQUEST_LINE.match(data[:end])
    if line is None:
        return None
    method, target, version = line.groups()
    allowed = _CONNECT_TARGET if method == b"CONNECT" else _TARGET
    if allowed.match(target) is None:
        return None
    return HTTP_11 if version == b"HTTP/1.1" else HTTP_10
