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

#: Methods that Envoy's HTTP/1 parser knows; with any other word the bytes are taken for another protocol.
_METHODS: Final = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "M-SEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
]
_METHOD_STARTS: Final = frozenset(
    (method + " ")[:end].encode("ascii") for method in _METHODS for end in range(1, len(method) + 2)
)
_LONGEST_METHOD: Final = max(map(len, _METHODS)) + 1

#: Method, target without white space or controls, version. RFC 9112 section 3; a bare LF ends a line too.
_REQUEST_LINE: Final = re.compile(rb"([A-Z-]+) ([^\x00-\x20\x7f]+) HTTP/([0-9])\.([0-9])\r?\n")


def inspect_http(data: bytes) -> str | Incomplete | None:
    """`http/1.0`, `http/1.1`, `h2c`, None when it is not HTTP, or `Incomplete`. Raises nothing.

    `data` is everything received so far. Empty lines before the request line are skipped (RFC 9112 section 2.2).
    HTTP/1 needs a whole request line; of HTTP/2 the whole preface.
    """
    start = data[: len(H2_PREFACE)]
    if H2_PREFACE.startswith(start):  # an empty start too
        return H2C if len(start) == len(H2_PREFACE) else INCOMPLETE
    line = data.lstrip(b"\r\n")
    start = line[:_LONGEST_METHOD]
    word = start[: start.find(b" ") + 1] if b" " in start else start
    if word and word not in _METHOD_STARTS:
        return None
    end = line.find(b"\n", 0, MAX_PREFACE_BYTES)
    if end < 0:
        return INCOMPLETE if len(data) < MAX_PREFACE_BYTES else None
    found = _REQUEST_LINE.match(line[: end + 1])
    if found is None:
        return None
    version = found.group(3) + found.group(4)
    if version == b"11":
        return HTTP_11
    return HTTP_10 if version == b"10" else None
