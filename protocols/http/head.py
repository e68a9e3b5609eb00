"""The one strict check of an HTTP/1 message head: bytes in, `Headers` and body framing out.

Everything that follows from a head is decided here, on bytes, once, for both HTTP/1 codecs and both roles: grammar, the
framing of the body, host and target, limits. RFC 9112 is the law; where it leaves a choice the answer is Envoy's (obs-fold
joined, bare LF taken, bare CR deleted from values, a duplicate Content-Length refused even if equal), and where Envoy is
laxer than the law (two Host fields), the law.

Two ways through: clean heads (CRLF lines, no folds, a plain target) take the short one, which is a few C calls and
knows lines it has seen (`head_lines`); everything else takes the long one, which is the authority. The short one accepts nothing
that the long one does not, with the same result.
"""

from __future__ import annotations

import re
from typing import Final

from protocols.errors import RemoteProtocolError
from protocols.http import names
from protocols.http.codec import CodecSettings, HttpVersion, UnderscorePolicy
from protocols.http.head_lines import (
    AUTHORITY,
    HEAD_CHARS,
    HOSTS,
    METHODS,
    REQUEST_LINES,
    STATUS_LINES,
    TOKEN,
    field_of,
    intern,
)
from protocols.http.headers import Headers

#: Body lengths that are not a number of bytes.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

_METHOD_STARTS: Final = frozenset(method[0] for method in METHODS)

CODEC_ERROR: Final = "http1.codec_error"
INVALID_CHARACTERS: Final = "http1.invalid_characters"
HEADERS_TOO_LARGE: Final = "http1.headers_too_large"

#: The end of a head: an empty line, CRLF or bare LF.
HEAD_END: Final = re.compile(rb"\n\r?\n")
#: An HTTP/0.9 request is complete after its only line.
_SIMPLE_REQUEST: Final = re.compile(rb"[!-~]+[ \t\r]+[!-~]+[ \t\r]*\n")

_TARGET: Final = re.compile(rb"[!-~]+")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_BLANK: Final = re.compile(rb"[ \t\r]+")
_ABSOLUTE_FORM: Final = re.compile(
    rb"[hH][tT][tT][pP]([sS]?)://(?:[A-Za-z0-9\-_.!~*'()%;:&=+$,]*@)?([^/?]*)([!-~]*)"
)
#: The authority of an absolute-form or authority-form target, which Envoy takes from fewer characters than Host.
_URL_AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9\-.]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_LENGTH_LIMIT: Final = 1 << 64
_LENGTH_DIGITS: Final = 20  # so many has the limit

#: Envoy refuses a request whose Connection field names this many others.
_NOMINATIONS_LIMIT: Final = 10
_TE_LIMIT: Final = 256
_NOT_FRAMING: Final = names.HOP_BY_HOP - {names.TRANSFER_ENCODING}
_LENGTH_ALONE: Final = frozenset((names.CONTENT_LENGTH,))
_CONNECTION_ALONE: Final = frozenset((names.CONNECTION,))
_PLAIN_OPTIONS: Final = {b"keep-alive": True, b"Keep-Alive": True, b"close": False, b"Close": False}
_KEPT_OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade", b"http2-settings"))
#: May not come in trailers: they frame, route or authenticate (RFC 9110 section 6.5.1).
NOT_A_TRAILER: Final = names.FRAMING_OR_HOP_BY_HOP | {
    names.HOST,
    names.TRAILER,
    names.AUTHORIZATION,
    names.PROXY_AUTHORIZATION,
    names.X_FORWARDED_CLIENT_CERT,
}


class MessageHead:
    """One checked head.

    `length`: of the body in bytes, or CHUNKED, or (responses) UNTIL_CLOSE; what the method or status says about bodies is
    not yet in it. `upgrade`: the lower-case protocol the peer wants or agrees to switch to, b"" for none; then `connection`
    and `upgrade` are still among the fields. `size`: bytes of the head, the empty line included.
    """

    __slots__ = ("headers", "keep_alive", "length", "size", "upgrade", "version")

    def __init__(self, headers: Headers, version: HttpVersion, length: int, size: int) -> None:
        self.headers = headers
        self.version = version
        self.length = length
        self.size = size
        self.keep_alive = version is _HTTP11
        self.upgrade = b""


def fields_size(data: bytes, size: int) -> int:
    """Bytes of the fields of a head of `size` bytes as Envoy counts them: without the blank behind the colon."""
    return size - data.find(b"\n") - 1 - data.count(b"\n", 0, size)


_HTTP10: Final = HttpVersion.HTTP10
_HTTP11: Final = HttpVersion.HTTP11
_ALLOW: Final = UnderscorePolicy.ALLOW
_SPECIAL: Final = names.FRAMING_OR_HOP_BY_HOP


def read_request_head(data: bytes, settings: CodecSettings) -> MessageHead | None:
    """Check the request head at the start of `data`; None: not complete yet.

    `data` begins with the request line (empty lines before it already removed). Raises RemoteProtocolError with the status
    to answer: 400, 426 (version), 431 (too large, also while incomplete; too many fields), 501 (transfer coding).
    """
    end = data.find(b"\r\n\r\n")
    if not 0 <= end <= settings.max_head_bytes:
        return _read_request_head(data, settings)
    lines = data[:end].split(b"\r\n")
    try:
        method, path = REQUEST_LINES[lines[0]]
        pairs = list(map(field_of, lines[1:]))
        fields = dict(pairs)
        host = HOSTS[fields[names.HOST]]
    except KeyError:
        return _read_request_head(data, settings)
    count = len(pairs)
    if len(fields) != count or count > settings.max_headers or settings.underscores is not _ALLOW:
        return _read_request_head(data, settings)
    del fields[names.HOST]
    headers = Headers(fields)
    headers.method = method
    headers.path = path
    headers.authority = host
    head = MessageHead(headers, _HTTP11, 0, end + 4)
    if not _SPECIAL.isdisjoint(fields):
        _read_special_fields(head, 0)
    return head


def _read_request_head(data: bytes, settings: CodecSettings) -> MessageHead | None:
    """The long way: anything a peer may send."""
    if data and data[0] not in _METHOD_STARTS:
        raise RemoteProtocolError(CODEC_ERROR)
    if _SIMPLE_REQUEST.match(data):
        _check_request_line(data.partition(b"\n")[0])
        raise RemoteProtocolError("low_version", status=426)
    size = _head_size(data, settings)
    if size == 0:
        return None
    line, _, rest = data[:size].partition(b"\n")
    _check_characters(data[:size])
    method, target, version = _check_request_line(line)
    pairs = _read_fields(rest)
    headers = Headers(pairs)
    headers.method = method
    if version == b"HTTP/1.1":
        head = MessageHead(headers, _HTTP11, 0, size)
    elif version.startswith(b"HTTP/1.") and settings.accept_http_10:
        head = MessageHead(headers, _HTTP10, 0, size)
    else:
        raise RemoteProtocolError("low_version", status=426)
    if len(pairs) > settings.max_headers:
        raise RemoteProtocolError("http1.too_many_headers", status=431)
    authority = _set_target(headers, target, settings)
    _check_request(head, len(pairs), settings)
    if authority:
        headers.authority = authority
        headers.lacks_host = False
    return head


def _head_size(data: bytes, settings: CodecSettings) -> int:
    """Bytes of the head at the start of `data`, the empty line included; 0: incomplete."""
    match = HEAD_END.search(data, 0, settings.max_head_bytes + 4)
    if match is not None:
        return match.end()
    if len(data) > settings.max_head_bytes:
        raise RemoteProtocolError(HEADERS_TOO_LARGE, status=431)
    return 0


def _check_characters(text: bytes) -> None:
    if text.translate(None, HEAD_CHARS):
        raise RemoteProtocolError(INVALID_CHARACTERS)


def _check_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target, version (b"" for HTTP/0.9). Runs of SP, HTAB and CR separate (RFC 9112 section 3, lenient)."""
    parts = _BLANK.split(line.rstrip(b" \t\r"), 2)
    if len(parts) < 2 or parts[0] not in METHODS:
        raise RemoteProtocolError(CODEC_ERROR)
    version = parts[2] if len(parts) == 3 else b""
    if version and not _VERSION.fullmatch(version):
        raise RemoteProtocolError(CODEC_ERROR)
    return intern(parts[0]), parts[1], version


def _read_fields(text: bytes) -> list[tuple[bytes, bytes]]:
    """Field lines up to the empty line. Bare LF ends a line; folds are joined and bare CRs deleted from values."""
    pairs: list[tuple[bytes, bytes]] = []
    lines = text.split(b"\n")
    index, count = 0, len(lines)
    while index < count:
        line = lines[index]
        index += 1
        if line in (b"", b"\r"):
            continue
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None:
            raise RemoteProtocolError(CODEC_ERROR)
        if index < count and lines[index][:1] in (b" ", b"\t"):
            folded = [value]
            while index < count and lines[index][:1] in (b" ", b"\t"):
                folded.append(lines[index])
                index += 1
            value = b"".join(folded)
        pairs.append((intern(name.lower()), value.replace(b"\r", b"").strip(b" \t")))
    return pairs


def _set_target(headers: Headers, target: bytes, settings: CodecSettings) -> bytes:
    """Set the path; returns the authority of the target, which wins over Host (RFC 9112 section 3.2.2), or b""."""
    method = headers.method
    if method == names.CONNECT:
        if _check_url_authority(target) is None:
            raise RemoteProtocolError("http1.invalid_url")
        return target
    if _TARGET.fullmatch(target) is None:
        raise RemoteProtocolError(CODEC_ERROR)
    if target[0] == 0x2F or (target == b"*" and method == names.OPTIONS):
        headers.path = target
        return b""
    if target[0] == 0x2A:
        raise RemoteProtocolError("http1.invalid_url")
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None or not settings.allow_absolute_url:
        raise RemoteProtocolError(CODEC_ERROR)
    secure, authority, rest = match.groups()
    _check_url_authority(authority)
    headers.scheme = b"https" if secure else b"http"
    headers.path = rest or b"/"
    return authority


def _check_url_authority(authority: bytes) -> bytes | None:
    """The port if there is one."""
    match = _URL_AUTHORITY.fullmatch(authority)
    if match is None or int(match[1] or b"0") > 65535:
        raise RemoteProtocolError("http1.invalid_url")
    return match[1]


def _check_request(head: MessageHead, count: int, settings: CodecSettings) -> None:
    """Limits, host and framing of a request whose grammar is good."""
    headers = head.headers
    if count > settings.max_headers:
        raise RemoteProtocolError("http1.too_many_headers", status=431)
    host = headers.get(names.HOST)
    if host is not None:
        if not AUTHORITY.fullmatch(host) or len(headers.get_all(names.HOST)) > 1:
            raise RemoteProtocolError("http.invalid_authority")
        headers.authority = host
        headers.remove(names.HOST)
    elif head.version is _HTTP10 and settings.default_host_for_http_10:
        headers.authority = settings.default_host_for_http_10
    else:
        headers.lacks_host = True
    if settings.underscores is not UnderscorePolicy.ALLOW:
        apply_underscore_policy(headers, settings.underscores, "http1.unexpected_underscore")
    if headers.has_any(_SPECIAL):
        _read_special_fields(head, 0)
    if headers.method == names.CONNECT:
        _check_connect(head)


def _read_special_fields(head: MessageHead, default_length: int) -> None:
    """Framing and the fields of one hop of a message that has some; the latter are taken out."""
    headers = head.headers
    special = headers.intersection(_SPECIAL)
    if special == _LENGTH_ALONE:
        head.length = _declared_length(headers)
        return
    head.length = _body_length(head, special, default_length)
    if names.TRANSFER_ENCODING in special:
        headers.remove(names.TRANSFER_ENCODING)
    hop = special & _NOT_FRAMING
    if not hop:
        return
    if hop == _CONNECTION_ALONE:
        wish = _PLAIN_OPTIONS.get(headers.joined(names.CONNECTION) or b"")
        if wish is not None:
            headers.remove(names.CONNECTION)
            head.keep_alive = wish
            return
    _read_connection(head, special)
    if headers.status == 0:  # a request
        _clean_request_connection(headers)
    else:
        _clean_response_connection(head)
    _drop_hop_by_hop(head)


def apply_underscore_policy(headers: Headers, policy: UnderscorePolicy, details: str) -> None:
    """Drop fields whose name has an underscore, or refuse the message with `details`."""
    for name in headers.names():
        if b"_" in name:
            if policy is UnderscorePolicy.REJECT:
                raise RemoteProtocolError(details)
            headers.remove(name)


def _body_length(head: MessageHead, special: set[bytes], default: int) -> int:
    """RFC 9112 section 6.3, made stricter as Envoy does: both framings are never taken together."""
    headers = head.headers
    if names.TRANSFER_ENCODING in special:
        if names.CONTENT_LENGTH in special:
            raise RemoteProtocolError("http1.content_length_and_chunked_not_allowed")
        if head.version is _HTTP10 and headers.status == 0:  # faulty framing (RFC 9112 section 6.1)
            raise RemoteProtocolError("http1.invalid_transfer_encoding")
        coding = headers.joined(names.TRANSFER_ENCODING)
        if coding is None or coding.lower() != b"chunked":
            raise RemoteProtocolError("http1.invalid_transfer_encoding", status=501)
        return CHUNKED
    if names.CONTENT_LENGTH in special:
        return _declared_length(headers)
    return default


def _declared_length(headers: Headers) -> int:
    """The value of Content-Length: digits, and nothing else (lines that say it twice are joined by a comma)."""
    value = headers.joined(names.CONTENT_LENGTH) or b""
    digits = value.lstrip(b"0") if len(value) > _LENGTH_DIGITS else value
    if not value.isdigit() or len(digits) > _LENGTH_DIGITS:
        raise RemoteProtocolError(CODEC_ERROR)
    length = int(digits or b"0")
    if length >= _LENGTH_LIMIT:
        raise RemoteProtocolError(CODEC_ERROR)
    return length


def _check_connect(head: MessageHead) -> None:
    """A CONNECT has no body (RFC 9110 section 9.3.6)."""
    if head.length == CHUNKED:
        raise RemoteProtocolError("http1.invalid_transfer_encoding", status=501)
    if head.length:
        raise RemoteProtocolError("http1.body_disallowed")
    head.headers.remove(names.CONTENT_LENGTH)


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def _read_connection(head: MessageHead, special: set[bytes]) -> None:
    """Whether the connection is to be kept, and whether the peer wants to leave HTTP."""
    headers = head.headers
    options = _tokens(headers.joined(names.CONNECTION) or b"")
    proxy_options = _tokens(headers.joined(names.PROXY_CONNECTION) or b"")
    if b"close" in options or b"close" in proxy_options:
        head.keep_alive = False
    elif head.version is _HTTP10 and b"keep-alive" in options:
        head.keep_alive = True
    if b"upgrade" in options and names.UPGRADE in special and head.version is _HTTP11:
        upgrade = (headers.joined(names.UPGRADE) or b"").lower()
        if upgrade != b"h2c":  # Envoy: an offer of cleartext HTTP/2 is ignored
            head.upgrade = upgrade


def _clean_request_connection(headers: Headers) -> None:
    """Take out the fields that Connection nominates (RFC 9110 section 7.6.1), within Envoy's bounds."""
    te = headers.joined(names.TE)
    nominated = _tokens(headers.joined(names.CONNECTION) or b"")
    if te is not None:
        if len(te) >= _TE_LIMIT and names.TE in nominated:
            raise RemoteProtocolError("http1.connection_header_rejected")
        codings = {part.partition(b";")[0].strip(b" \t") for part in te.lower().split(b",")}
        if names.TRAILERS in codings:
            headers.set(names.TE, names.TRAILERS)
        else:
            headers.remove(names.TE)
    if len(nominated) >= _NOMINATIONS_LIMIT:
        raise RemoteProtocolError("http1.connection_header_rejected")
    for name in nominated:
        if name in names.NEVER_NOMINATED or name[0] == 0x3A:
            raise RemoteProtocolError("http1.connection_header_rejected")
        if name == names.HOST:
            headers.authority = b""
            headers.lacks_host = True
        elif name not in _KEPT_OPTIONS and name not in names.HOP_BY_HOP:
            headers.remove(name)


def _clean_response_connection(head: MessageHead) -> None:
    headers = head.headers
    for name in _tokens(headers.joined(names.CONNECTION) or b""):
        if name not in _KEPT_OPTIONS and name not in _SPECIAL:
            headers.remove(name)
    if headers.status != 101:
        head.upgrade = b""


def _drop_hop_by_hop(head: MessageHead) -> None:
    headers = head.headers
    for name in headers.intersection(names.HOP_BY_HOP):
        if name == names.TE or (head.upgrade and name in (names.CONNECTION, names.UPGRADE)):
            continue
        headers.remove(name)
    if head.upgrade:
        headers.set(names.CONNECTION, _spelling_of_upgrade(headers.joined(names.CONNECTION) or b""))


def _spelling_of_upgrade(connection: bytes) -> bytes:
    """The option `upgrade` as the peer wrote it."""
    options = [option.strip(b" \t") for option in connection.split(b",")]
    return next((option for option in options if option.lower() == b"upgrade"), b"Upgrade")


def read_response_head(data: bytes, settings: CodecSettings) -> MessageHead | None:
    """Check the response head at the start of `data`; None: not complete yet. Raises RemoteProtocolError."""
    end = data.find(b"\r\n\r\n")
    if not 0 <= end <= settings.max_head_bytes:
        return _read_response_head(data, settings)
    lines = data[:end].split(b"\r\n")
    try:
        version, status = STATUS_LINES[lines[0]]
        pairs = list(map(field_of, lines[1:]))
    except KeyError:
        return _read_response_head(data, settings)
    fields = dict(pairs)
    headers = Headers(fields) if len(fields) == len(pairs) else Headers(pairs)
    headers.status = status
    head = MessageHead(headers, version, UNTIL_CLOSE, end + 4)
    _check_response(head, len(pairs), settings)
    return head


def _read_response_head(data: bytes, settings: CodecSettings) -> MessageHead | None:
    if data and not b"HTTP/1.".startswith(data[:7]):
        raise RemoteProtocolError(CODEC_ERROR)
    size = _head_size(data, settings)
    if size == 0:
        return None
    _check_characters(data[:size])
    line, _, rest = data[:size].partition(b"\n")
    try:
        version, status = STATUS_LINES[line.rstrip(b"\r")]
    except KeyError:
        raise RemoteProtocolError(CODEC_ERROR) from None
    pairs = _read_fields(rest)
    headers = Headers(pairs)
    headers.status = status
    head = MessageHead(headers, version, UNTIL_CLOSE, size)
    _check_response(head, len(pairs), settings)
    return head


def _check_response(head: MessageHead, count: int, settings: CodecSettings) -> None:
    if count > settings.max_headers:
        raise RemoteProtocolError("http1.too_many_headers", status=431)
    headers = head.headers
    if headers.has_any(_SPECIAL):
        _read_special_fields(head, UNTIL_CLOSE)
    if headers.status < 200 or headers.status == 204:
        _check_bodiless_response(head)


def _check_bodiless_response(head: MessageHead) -> None:
    """No framing fields with 1xx and 204 (RFC 9110 section 8.6, RFC 9112 section 6.1); a length of 0 is overlooked."""
    if head.length == CHUNKED:
        raise RemoteProtocolError("http1.transfer_encoding_not_allowed")
    if head.length > 0:
        raise RemoteProtocolError("http1.content_length_not_allowed")
    head.headers.remove(names.CONTENT_LENGTH)
    head.length = 0


def read_trailers(text: bytes, settings: CodecSettings) -> Headers:
    """Check the trailer section (field lines, without the empty line). Fields that may not be trailers are dropped."""
    _check_characters(text)
    pairs = _read_fields(text)
    if len(pairs) > settings.max_headers:
        raise RemoteProtocolError("http1.too_many_trailers", status=431)
    trailers = Headers(pairs)
    for name in trailers.intersection(NOT_A_TRAILER):
        trailers.remove(name)
    return trailers
