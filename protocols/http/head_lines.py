"""Single lines of an HTTP/1 head, checked once and remembered: tables of what was good before.

Each table checks what it does not know yet and raises KeyError for what is not plain. What it gives is the same whether it
was remembered or not; it is bounded, and fields made to carry secrets are not kept in it.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.http import names
from protocols.http.codec import HttpVersion

#: The methods Envoy's codec takes unless custom methods are allowed.
METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY OPTIONS "
    b"PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK "
    b"UNSUBSCRIBE".split()
)

_TOKEN_CHARS: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
TOKEN: Final = re.compile(rb"[" + _TOKEN_CHARS + rb"]+")
#: Field values: HTAB, SP, visible ASCII, obs-text (RFC 9110 section 5.5). With CR and LF: all a head may hold at all.
_NOT_IN_HEAD: Final = bytes(set(range(256)) - {9, 10, 13} - set(range(32, 127)) - set(range(128, 256)))
HEAD_CHARS: Final = bytes(set(range(256)) - set(_NOT_IN_HEAD))
VALUE_CHARS: Final = bytes(set(HEAD_CHARS) - {10, 13})
_PLAIN_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1")
_PLAIN_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
AUTHORITY: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:@\[\]]*")

_HTTP10: Final = HttpVersion.HTTP10
_HTTP11: Final = HttpVersion.HTTP11

#: Different in every message, or not to be kept in memory for longer than needed.
NOT_REMEMBERED: Final = frozenset(
    (
        names.AUTHORIZATION,
        names.COOKIE,
        names.PROXY_AUTHORIZATION,
        names.SET_COOKIE,
        names.X_FORWARDED_CLIENT_CERT,
        names.X_REQUEST_ID,
        b"traceparent",
        b"b3",
        b"x-b3-parentspanid",
        b"x-b3-spanid",
        b"x-b3-traceid",
    )
)
_REMEMBERED_LINES: Final = 2048
_REMEMBERED_LINE_BYTES: Final = 256
#: Fields may be longer: what Istio's workloads tell of themselves comes with every message.
_REMEMBERED_FIELD_BYTES: Final = 1024
_REMEMBERED_NAME_BYTES: Final = 64


class _Names(dict[bytes, bytes]):
    """Field names checked before, as received -> lower-case. KeyError for what is not a token."""

    def __missing__(self, name: bytes) -> bytes:
        if TOKEN.fullmatch(name) is None:
            raise KeyError
        lower = intern(name.lower())
        if len(name) <= _REMEMBERED_NAME_BYTES:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[name] = lower
        return lower


class _Fields(dict[bytes, tuple[bytes, bytes]]):
    """Field lines checked before: the line -> lower-case name, value. KeyError for what is not plain."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        name, colon, value = line.partition(b":")
        name = NAMES[name]
        if not colon or value.translate(None, VALUE_CHARS):
            raise KeyError
        pair = (name, value.strip(b" \t"))
        if name not in NOT_REMEMBERED and len(line) <= _REMEMBERED_FIELD_BYTES:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[line] = pair
        return pair


class _Hosts(dict[bytes, bytes]):
    """Good values of Host. KeyError for others."""

    def __missing__(self, host: bytes) -> bytes:
        if AUTHORITY.fullmatch(host) is None:
            raise KeyError
        if len(host) <= _REMEMBERED_LINE_BYTES:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[host] = host
        return host


class _RequestLines(dict[bytes, tuple[bytes, bytes]]):
    """Request lines checked before: the line -> method, target. KeyError for what is not plain."""

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        match = _PLAIN_REQUEST_LINE.fullmatch(line)
        if match is None or match[1] not in METHODS or match[1] == names.CONNECT:
            raise KeyError
        method, target = match.groups()
        pair = (intern(method), target)
        if len(line) <= _REMEMBERED_LINE_BYTES:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[line] = pair
        return pair


class _StatusLines(dict[bytes, tuple[HttpVersion, int]]):
    """Status lines checked before: the line -> version, status. KeyError for what is not one."""

    def __missing__(self, line: bytes) -> tuple[HttpVersion, int]:
        match = _PLAIN_STATUS_LINE.fullmatch(line)
        if match is None:
            raise KeyError
        pair = (_HTTP11 if match[1] == b"1" else _HTTP10, int(match[2]))
        if len(line) <= _REMEMBERED_LINE_BYTES:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[line] = pair
        return pair


def _vocabulary() -> dict[bytes, bytes]:
    words = [value for value in vars(names).values() if isinstance(value, bytes)]
    return {word: word for word in [*words, *METHODS]}


_VOCABULARY: Final = _vocabulary()


def intern(word: bytes) -> bytes:
    """The constant of that value if there is one: look-ups then meet the same object, with its hash known."""
    return _VOCABULARY.get(word, word)


NAMES: Final = _Names()
FIELDS: Final = _Fields()
HOSTS: Final = _Hosts()
REQUEST_LINES: Final = _RequestLines()
STATUS_LINES: Final = _StatusLines()
field_of: Final = FIELDS.__getitem__
