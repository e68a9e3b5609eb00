"""The one strict check of HTTP/2 field lists: decoded fields in, `Headers` out; and back, judged again (RFC 9113 section 8).

What `head` and `head_writer` are for HTTP/1. The same tables say what a token, a value and a host is. Upgrades are translated
here: inside of the proxy an extended CONNECT (RFC 8441) is an HTTP/1.1 request with `upgrade`, and the 2xx to it a 101.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import names
from protocols.http.codec import CodecSettings, UnderscorePolicy
from protocols.http.head import NOT_A_TRAILER, apply_underscore_policy
from protocols.http.head_lines import AUTHORITY, METHODS, NOT_REMEMBERED, TOKEN, VALUE_CHARS, intern
from protocols.http.headers import Headers

Field = tuple[bytes, bytes]

PSEUDO_AUTHORITY: Final = b":authority"
PSEUDO_METHOD: Final = b":method"
PSEUDO_PATH: Final = b":path"
PSEUDO_PROTOCOL: Final = b":protocol"
PSEUDO_SCHEME: Final = b":scheme"
PSEUDO_STATUS: Final = b":status"

#: Envoy's names for what is wrong with a message.
INVALID_FIELD: Final = "http2.invalid.header.field"
VIOLATION: Final = "http2.violation.of.messaging.rule"
UNDERSCORE: Final = "http2.unexpected_underscore"

_REQUEST_PSEUDO: Final = frozenset(
    (PSEUDO_AUTHORITY, PSEUDO_METHOD, PSEUDO_PATH, PSEUDO_PROTOCOL, PSEUDO_SCHEME)
)
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_PATH: Final = re.compile(rb"/[!-~]*")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")

#: RFC 9113 section 8.2.2: fields of one hop make a message malformed (`te` only with another value than `trailers`).
_FORBIDDEN: Final = frozenset(
    (names.CONNECTION, names.KEEP_ALIVE, names.PROXY_CONNECTION, names.TRANSFER_ENCODING, names.UPGRADE)
)
_SPECIAL: Final = _FORBIDDEN | {names.TE, names.HTTP2_SETTINGS, names.HOST, names.CONTENT_LENGTH}
_HTTP_SCHEMES: Final = frozenset((b"http", b"https"))
_PSEUDO: Final = _REQUEST_PSEUDO | {PSEUDO_STATUS}
#: Never written: they belong to a hop, or are pseudo-headers in HTTP/2.
_NOT_WRITTEN: Final = (names.HOP_BY_HOP - {names.TE}) | {names.HOST}
_NOT_WRITTEN_OR_PSEUDO: Final = _NOT_WRITTEN | _PSEUDO

_REMEMBERED_FIELDS = 4096
_REMEMBERED_BYTES: Final = 2048


class _Checked(dict[Field, Field]):
    """Regular fields checked before -> as they are handed on. KeyError for what is malformed."""

    def __missing__(self, field: Field) -> Field:
        name, value = field
        if _NAME.fullmatch(name) is None or value.translate(None, VALUE_CHARS):
            raise KeyError
        checked = (intern(name), value.strip(b" \t"))
        if name not in NOT_REMEMBERED and len(name) + len(value) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED_FIELDS:
                self.clear()
            self[field] = checked
        return checked


_CHECKED: Final = _Checked()
_checked: Final = _CHECKED.__getitem__


def _split(fields: list[Field], allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[Field]]:
    """Pseudo-headers, each at most once and in front of all others; the regular fields, checked."""
    count = 0
    for name, _ in fields:
        if name not in allowed:
            break
        count += 1
    pseudo = dict(fields[:count])
    if len(pseudo) != count:
        raise RemoteProtocolError(INVALID_FIELD)
    try:
        return pseudo, list(map(_checked, fields[count:]))
    except KeyError:  # pseudo-headers that are out of place or unknown, too: a colon is not part of a token
        raise RemoteProtocolError(INVALID_FIELD) from None


def read_request(fields: list[Field], settings: CodecSettings) -> Headers:
    """A request head. Raises RemoteProtocolError with Envoy's response code detail."""
    pseudo, regular = _split(fields, _REQUEST_PSEUDO)
    headers = _regular_headers(regular)
    try:
        method = headers.method = intern(pseudo[PSEUDO_METHOD])
    except KeyError:
        raise RemoteProtocolError(VIOLATION) from None
    if method not in METHODS and TOKEN.fullmatch(method) is None:
        raise RemoteProtocolError(INVALID_FIELD)
    authority = pseudo.get(PSEUDO_AUTHORITY)
    if authority is None:
        authority = headers.get(names.HOST)
    elif not authority:  # as Envoy; an http URI has a host (RFC 9110 section 4.2.1)
        raise RemoteProtocolError(VIOLATION)
    if authority is None:
        raise RemoteProtocolError(VIOLATION)
    headers.authority = _checked_authority(authority)
    if headers.has_any(_SPECIAL):
        _read_special(headers)
    if settings.underscores is not UnderscorePolicy.ALLOW:
        apply_underscore_policy(headers, settings.underscores, UNDERSCORE)
    if method == names.CONNECT or PSEUDO_PROTOCOL in pseudo:
        _read_connect(headers, pseudo, settings)
    else:
        _read_target(headers, pseudo)
    return headers


def _regular_headers(regular: list[Field]) -> Headers:
    fields = dict(regular)
    return Headers(fields) if len(fields) == len(regular) else _with_repeats(regular)


def _with_repeats(regular: list[Field]) -> Headers:
    """Cookies that came in pieces are one field outside of HTTP/2 (RFC 9113 section 8.2.3)."""
    headers = Headers(regular)
    cookies = headers.get_all(names.COOKIE)
    if len(cookies) > 1:
        headers.set(names.COOKIE, b"; ".join(cookies))
    return headers


def _checked_authority(authority: bytes) -> bytes:
    if AUTHORITY.fullmatch(authority) is None or b"@" in authority:
        raise RemoteProtocolError(INVALID_FIELD)
    return authority


def _read_special(headers: Headers) -> None:
    special = headers.intersection(_SPECIAL)
    if not _FORBIDDEN.isdisjoint(special):
        raise RemoteProtocolError(INVALID_FIELD)
    if names.TE in special and headers.get_all(names.TE) != [names.TRAILERS]:
        raise RemoteProtocolError(INVALID_FIELD)
    if names.CONTENT_LENGTH in special:
        lengths = headers.get_all(names.CONTENT_LENGTH)
        if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
            raise RemoteProtocolError(INVALID_FIELD)
    if names.HOST in special:
        if len(headers.get_all(names.HOST)) > 1:
            raise RemoteProtocolError(INVALID_FIELD)
        headers.remove(names.HOST)
    headers.remove(names.HTTP2_SETTINGS)


def _read_target(headers: Headers, pseudo: dict[bytes, bytes]) -> None:
    """`:scheme` and `:path` of a request that is no CONNECT (RFC 9113 section 8.3.1)."""
    try:
        scheme, path = pseudo[PSEUDO_SCHEME], pseudo[PSEUDO_PATH]
    except KeyError:
        raise RemoteProtocolError(VIOLATION) from None
    if scheme not in _HTTP_SCHEMES:
        if _SCHEME.fullmatch(scheme) is None:
            raise RemoteProtocolError(INVALID_FIELD)
        scheme = scheme.lower()
    headers.scheme = scheme if scheme in _HTTP_SCHEMES else b""  # not of HTTP: that of the connection
    if _PATH.fullmatch(path) is None and not (path == b"*" and headers.method == names.OPTIONS):
        raise RemoteProtocolError(VIOLATION if path.translate(None, VALUE_CHARS) == b"" else INVALID_FIELD)
    headers.path = path


def _read_connect(headers: Headers, pseudo: dict[bytes, bytes], settings: CodecSettings) -> None:
    """CONNECT (section 8.5), or an extended one: from here on an upgrade request (RFC 8441)."""
    if PSEUDO_AUTHORITY not in pseudo or not headers.authority:
        raise RemoteProtocolError(VIOLATION)
    protocol = pseudo.get(PSEUDO_PROTOCOL)
    if protocol is None:
        if PSEUDO_SCHEME in pseudo or PSEUDO_PATH in pseudo:
            raise RemoteProtocolError(VIOLATION)
        return
    if not settings.http2.allow_connect or headers.method != names.CONNECT:
        raise RemoteProtocolError(INVALID_FIELD)
    if TOKEN.fullmatch(protocol) is None:
        raise RemoteProtocolError(INVALID_FIELD)
    _read_target(headers, pseudo)
    headers.method = names.GET
    headers.protocol = protocol
    headers.set(names.CONNECTION, names.UPGRADE)
    headers.set(names.UPGRADE, protocol)


def read_response(fields: list[Field], settings: CodecSettings) -> Headers:
    """A response head, interim or final. Raises RemoteProtocolError."""
    pseudo, regular = _split(fields, _RESPONSE_PSEUDO)
    status = pseudo.get(PSEUDO_STATUS)
    if status is None:
        raise RemoteProtocolError(VIOLATION)
    if _STATUS.fullmatch(status) is None:
        raise RemoteProtocolError(INVALID_FIELD)
    headers = Headers(regular)
    headers.status = int(status)
    if headers.status == 101:  # section 8.6: HTTP/2 has no upgrades
        raise RemoteProtocolError(VIOLATION)
    if headers.has_any(_SPECIAL):
        _read_special(headers)
    if settings.underscores is not UnderscorePolicy.ALLOW:
        apply_underscore_policy(headers, settings.underscores, UNDERSCORE)
    return headers


_RESPONSE_PSEUDO: Final = frozenset((PSEUDO_STATUS,))


def read_trailers(fields: list[Field]) -> Headers:
    """Trailers. Fields that may not be there are dropped, as from HTTP/1. Raises RemoteProtocolError."""
    _, regular = _split(fields, frozenset())
    trailers = Headers(regular)
    if trailers.has_any(_FORBIDDEN):
        raise RemoteProtocolError(INVALID_FIELD)
    for name in trailers.intersection(NOT_A_TRAILER):
        trailers.remove(name)
    return trailers


# --- writing


def request_fields(headers: Headers, scheme: bytes = b"http") -> list[Field]:
    """A request as fields. `scheme` is for a request that does not name one. Raises LocalProtocolError."""
    method, authority = headers.method, headers.authority
    if method not in METHODS and TOKEN.fullmatch(method) is None:
        raise LocalProtocolError("a method that may not be written")
    protocol = headers.get(names.UPGRADE) if names.CONNECTION in headers else None
    if not authority and (protocol is not None or method == names.CONNECT):
        raise LocalProtocolError("a CONNECT without an authority")
    if method == names.CONNECT:
        return _with_regular([(PSEUDO_METHOD, method), (PSEUDO_AUTHORITY, authority)], headers)
    path = headers.path
    if _PATH.fullmatch(path) is None and path != b"*":
        raise LocalProtocolError("a path that may not be written")
    fields = [
        (PSEUDO_AUTHORITY, authority),
        (PSEUDO_PATH, path),
        (PSEUDO_METHOD, method),
        (PSEUDO_SCHEME, headers.scheme or scheme),
    ]
    if not authority:
        del fields[0]
    if protocol is None:
        return _with_regular(fields, headers)
    fields[2] = (PSEUDO_METHOD, names.CONNECT)
    fields.append((PSEUDO_PROTOCOL, protocol))
    return _without_length(_with_regular(fields, headers))  # what follows is a tunnel


def response_fields(headers: Headers) -> list[Field]:
    """A response as fields; a 101 becomes the 200 to an extended CONNECT. Raises LocalProtocolError."""
    status = headers.status
    if not 100 <= status <= 999:
        raise LocalProtocolError("a status that may not be written")
    fields = _with_regular([(PSEUDO_STATUS, b"%d" % (200 if status == 101 else status))], headers)
    return _without_length(fields) if status < 200 or status == 204 else fields


def _without_length(fields: list[Field]) -> list[Field]:
    return [field for field in fields if field[0] != names.CONTENT_LENGTH]


def trailer_fields(trailers: Headers) -> list[Field]:
    return _with_regular([], trailers)


def _with_regular(fields: list[Field], headers: Headers) -> list[Field]:
    items: Iterable[Field] = headers.items()
    if headers.has_any(_NOT_WRITTEN_OR_PSEUDO):
        if headers.has_any(_PSEUDO):
            raise LocalProtocolError("a pseudo-header among the fields")
        items = [item for item in items if item[0] not in _NOT_WRITTEN]
    fields.extend(items)
    te = headers.joined(names.TE)
    if te is not None and te != names.TRAILERS:
        fields = [field for field in fields if field[0] != names.TE]
    return fields


def check_for_writing(field: Field) -> None:
    """The last check against smuggling. Raises LocalProtocolError.

    Whatever filters and the other protocol put into `Headers`: names are lower-case tokens, values hold no control
    characters, and those of pseudo-headers no white space.
    """
    name, value = field
    if value.translate(None, VALUE_CHARS):
        raise LocalProtocolError("a control character in a field")
    if name in _PSEUDO:
        if not value.isascii() or b" " in value or b"\t" in value or (not value and name != PSEUDO_AUTHORITY):
            raise LocalProtocolError("a pseudo-header that may not be written")
    elif _NAME.fullmatch(name) is None:
        raise LocalProtocolError("a field name that may not be written")
