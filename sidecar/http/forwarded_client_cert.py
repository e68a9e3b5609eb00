"""`x-forwarded-client-cert`: what is told upstream about the client's certificate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from config.model.http import ForwardClientCertDetails, SetCurrentClientCertDetails
from protocols.http.headers import Headers
from sidecar.stream_info import TlsInfo

_XFCC: Final = b"x-forwarded-client-cert"

#: Edits the header for a request that came over a connection with these TLS facts (None: plaintext).
XfccRule: TypeAlias = Callable[[Headers, TlsInfo | None], None]


def compile_xfcc(details: ForwardClientCertDetails, current: SetCurrentClientCertDetails) -> XfccRule:
    """Without a client certificate the header is never believed, except by ALWAYS_FORWARD_ONLY."""
    if details is ForwardClientCertDetails.ALWAYS_FORWARD_ONLY:
        return lambda headers, tls: None
    if details is ForwardClientCertDetails.SANITIZE:
        return _drop
    if details is ForwardClientCertDetails.FORWARD_ONLY:
        return _drop_without_certificate
    appends = details is ForwardClientCertDetails.APPEND_FORWARD
    cache = _ElementCache(current)

    def rule(headers: Headers, tls: TlsInfo | None) -> None:
        if tls is None or tls.peer is None:
            headers.remove(_XFCC)
            return
        element = cache.element(tls)
        before = headers.joined(_XFCC) if appends else None
        headers.set(_XFCC, b"%b,%b" % (before, element) if before else element)

    return rule


def _drop(headers: Headers, tls: TlsInfo | None) -> None:
    headers.remove(_XFCC)


def _drop_without_certificate(headers: Headers, tls: TlsInfo | None) -> None:
    if tls is None or tls.peer is None:
        headers.remove(_XFCC)


class _ElementCache:
    """The element of the last connection: all requests of a connection share it."""

    __slots__ = ("_current", "_element", "_tls")

    def __init__(self, current: SetCurrentClientCertDetails) -> None:
        self._current = current
        self._tls: TlsInfo | None = None
        self._element = b""

    def element(self, tls: TlsInfo) -> bytes:
        if tls is not self._tls:
            self._element = xfcc_element(tls, self._current)
            self._tls = tls
        return self._element


def xfcc_element(tls: TlsInfo, current: SetCurrentClientCertDetails) -> bytes:
    """`By=...;Hash=...;Cert="...";Chain="...";Subject="...";URI=...;DNS=...`, in Envoy's order.

    Names from the certificate cannot break out of their field (in Envoy they can): a value that holds a separator is quoted,
    and quotes, backslashes and control characters in it are escaped.
    """
    peer = tls.peer
    if peer is None:
        return b""
    parts: list[str] = []
    if tls.local is not None:
        parts.extend(f"By={_plain(uri)}" for uri in tls.local.uri_sans)
    parts.append(f"Hash={peer.sha256}")
    if current.cert:
        parts.append(f'Cert="{peer.pem_url_encoded()}"')
    if current.chain:
        parts.append(f'Chain="{peer.pem_url_encoded()}"')
    if current.subject:
        parts.append(f'Subject="{peer.subject}"')  # RFC 2253 text: quotes and backslashes are escaped in it
    if current.uri:
        parts.extend(f"URI={_plain(uri)}" for uri in peer.uri_sans or ("",))
    if current.dns:
        parts.extend(f"DNS={_plain(dns)}" for dns in peer.dns_sans)
    return ";".join(parts).encode("utf-8", "surrogateescape")


_SEPARATORS: Final = frozenset(',;="\\')


def _plain(value: str) -> str:
    """A value as it is, or quoted if it holds anything that could end the field."""
    if value.isprintable() and not _SEPARATORS.intersection(value):
        return value
    return f'"{_quoted(value)}"'


def _quoted(value: str) -> str:
    return "".join(_QUOTE.get(character, character) for character in value)


_QUOTE: Final = {
    '"': '\\"',
    "\\": "\\\\",
    **{chr(code): f"%{code:02X}" for code in (*range(0x20), 0x7F)},
}
