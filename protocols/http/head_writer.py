"""The one writer of HTTP/1 heads: nothing else in the program serialises one.

It is the last check against smuggling: whatever the filters and the other protocol put into `Headers`, what goes on the wire
has token names, no CR, LF, NUL or other control in a value, no white space in method, target and host, and one framing at
most. A violation is a bug on our side and raises LocalProtocolError.

Fields keep their order; `host` comes first in a request, `connection` and framing that the codec adds come last, all names
in lower case (as Envoy writes them).
"""

from __future__ import annotations

import re
from typing import Final

from protocols.errors import LocalProtocolError
from protocols.http import names
from protocols.http.codec import HttpVersion
from protocols.http.head import CHUNKED, UNTIL_CLOSE
from protocols.http.head_lines import METHODS, TOKEN, VALUE_CHARS
from protocols.http.headers import Headers
from protocols.http.reasons import reason_phrase

#: Length of a body that is not sent whatever the fields say: HEAD, 204, 304.
NO_BODY: Final = -3

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_LENGTH_DIGITS: Final = 20  # 2 ** 64 has as many

#: Fields of the writer's own: what is in `Headers` under these names is replaced or left out.
_OWN: Final = (names.HOP_BY_HOP - {names.TE}) | {names.CONTENT_LENGTH, names.HOST}
_UPGRADE_FIELDS: Final = frozenset((names.CONNECTION, names.UPGRADE))
#: Request methods for which no body is the normal thing: no `content-length: 0` is added (as Envoy does).
_BODILESS_METHODS: Final = frozenset((b"GET", b"HEAD", b"CONNECT", b"TRACE", b"DELETE"))

#: Spaces in a request line and a host line together.
_SPACES: Final = 3
_TAB: Final = ord("\t")
_END: Final = b"\r\n"
_CHUNKED_END: Final = b"transfer-encoding: chunked\r\n\r\n"
_EMPTY_END: Final = b"content-length: 0\r\n\r\n"
_WITH_CLOSE: Final = {end: b"connection: close\r\n" + end for end in (_END, _CHUNKED_END, _EMPTY_END)}
_WITH_KEEP_ALIVE: Final = {end: b"connection: keep-alive\r\n" + end for end in _WITH_CLOSE}
_CRLF: Final = b"\r\n"

#: What is written before a value, by the names that passed the check before. Bounded: names come from peers.
_prefixes: Final[dict[bytes, bytes]] = {}
_prefixes_or_length: Final[dict[bytes, bytes]] = {names.CONTENT_LENGTH: _CRLF + names.CONTENT_LENGTH + b": "}
_REMEMBERED_NAMES: Final = 4096
_REMEMBERED_NAME_BYTES: Final = 64


def _status_line(version: bytes, status: int) -> bytes:
    return b"%b %d %b" % (version, status, reason_phrase(status))


_STATUS_LINES: Final = {status: _status_line(b"HTTP/1.1", status) for status in range(100, 1000)}
_STATUS_LINES_10: Final = {status: _status_line(b"HTTP/1.0", status) for status in range(100, 1000)}


def write_request_head(headers: Headers, end: bool, upgrade: bool) -> tuple[bytes, int]:
    """The head, and the length of the body that must follow (or CHUNKED).

    `end`: no body follows. `upgrade`: the request asks to leave HTTP (`connection` and `upgrade` are written, no body framing
    is added). Raises LocalProtocolError.
    """
    method = headers.method
    authority = headers.authority
    length = 0
    tail = _END
    declared: bytes | None = None
    if method == names.CONNECT:
        target = authority
    else:
        target = headers.path
        declared = headers.joined(names.CONTENT_LENGTH)
        if declared is not None:
            length = _declared_length(declared, end)
        elif upgrade:
            pass
        elif not end:
            length = CHUNKED
            tail = _CHUNKED_END
        elif method not in _BODILESS_METHODS:
            tail = _EMPTY_END
        if not target.startswith(b"/") and target != b"*":
            raise LocalProtocolError("a target that may not be written")
    if method not in METHODS and TOKEN.fullmatch(method) is None:
        raise LocalProtocolError("a method that may not be written")
    start = b"".join((method, b" ", target, b" HTTP/1.1\r\nhost: ", authority))
    if not target or start.count(b" ") != _SPACES or _TAB in start or not start.isascii():
        raise LocalProtocolError("a target or host that may not be written")
    return _write(start, _CRLF, headers, declared is not None, upgrade, tail), length


def write_response_head(
    headers: Headers, end: bool, *, method: bytes, version: HttpVersion, close: bool, upgrade: bool
) -> tuple[bytes, int]:
    """The head of a response to a request of `method` and `version`, and the length of the body that must follow.

    The length may be CHUNKED, UNTIL_CLOSE (HTTP/1.0 client) or NO_BODY. `close`: say that the connection closes. `upgrade`:
    a 101. Raises LocalProtocolError.
    """
    status = headers.status
    modern = version is HttpVersion.HTTP11
    start = (_STATUS_LINES if modern else _STATUS_LINES_10).get(status)
    if start is None:
        raise LocalProtocolError("a status that may not be written")
    tail = _END
    declared = headers.joined(names.CONTENT_LENGTH)
    if status < 200 or status == 204 or (method == names.CONNECT and status < 300):
        declared = None
        length = NO_BODY
    elif status == 304 or method == names.HEAD:
        length = NO_BODY
        if declared is not None:
            _declared_length(declared, False)
        elif modern and status != 304:  # what a GET would get: Envoy says it also when it is not known
            tail = _CHUNKED_END
    elif declared is not None:
        length = _declared_length(declared, end)
    elif end:
        length = 0
        tail = _EMPTY_END
    elif modern:
        length = CHUNKED
        tail = _CHUNKED_END
    else:
        length = UNTIL_CLOSE
        close = True
    if close and status >= 200:
        tail = _WITH_CLOSE[tail]
    elif not modern and status >= 200:
        tail = _WITH_KEEP_ALIVE[tail]
    return _write(start, b"", headers, declared is not None, upgrade, tail), length


def write_trailers(trailers: Headers) -> bytes:
    """The last chunk, field lines and the empty line. Raises LocalProtocolError."""
    return _write(b"0", b"", trailers, False, False, _END)


def _declared_length(value: bytes, end: bool) -> int:
    """A repeated content-length comes here joined by commas, which are no digits."""
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise LocalProtocolError("a content-length that may not be written")
    length = int(value)
    if end and length:
        raise LocalProtocolError("content-length without a body")
    return length


def _write(start: bytes, inner: bytes, headers: Headers, declared: bool, upgrade: bool, tail: bytes) -> bytes:
    """Start line, field lines, `tail`; every octet judged, those of names when they are remembered. `inner`: line ends within `start`.

    `declared`: `content-length` is written as it is. `upgrade`: so are `connection` and `upgrade`.
    """
    pieces = [start]  # then before and after each colon in turns
    prefixes = _prefixes_or_length if declared else _prefixes
    if headers.has_repeats or not _add_known(pieces, headers.first, prefixes):
        pieces = [start]
        known = headers.first.keys() <= prefixes.keys()
        for name, value in headers.items() if known else _kept_fields(headers, declared, upgrade):
            pieces.append(prefixes.get(name) or _prefix(name))
            pieces.append(value)
    values = b"".join(pieces[::2])
    if values.translate(None, VALUE_CHARS) != inner:
        raise LocalProtocolError("a control character in a head")
    pieces.append(_CRLF)
    pieces.append(tail)
    return b"".join(pieces)


def _add_known(pieces: list[bytes], fields: dict[bytes, bytes], prefixes: dict[bytes, bytes]) -> bool:
    """The short way, where no name repeats; False: not all of them are known."""
    for name, value in fields.items():
        prefix = prefixes.get(name)
        if prefix is None:
            return False
        pieces.append(prefix)
        pieces.append(value)
    return True


def _prefix(name: bytes) -> bytes:
    return b"\r\n%b: " % name


def _kept_fields(headers: Headers, declared: bool, upgrade: bool) -> list[tuple[bytes, bytes]]:
    """The long way: names not seen before, and fields to be left out."""
    drop = set(_OWN)
    if declared:
        drop.discard(names.CONTENT_LENGTH)
    if upgrade:
        drop -= _UPGRADE_FIELDS
    kept = [item for item in headers.items() if item[0] not in drop]
    for name, _ in kept:
        if name not in _prefixes and name not in _OWN:
            if _NAME.fullmatch(name) is None:
                raise LocalProtocolError("a field name that may not be written")
            if len(name) <= _REMEMBERED_NAME_BYTES:
                _remember(name)
    return kept


def _remember(name: bytes) -> None:
    if len(_prefixes) >= _REMEMBERED_NAMES:
        _prefixes.clear()
        _prefixes_or_length.clear()
        _prefixes_or_length[names.CONTENT_LENGTH] = _prefix(names.CONTENT_LENGTH)
    _prefixes[name] = _prefixes_or_length[name] = _prefix(name)
