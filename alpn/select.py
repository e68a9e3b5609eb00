"""Which protocol is agreed: the server's choice, and what a negotiated name means for the codec."""

from __future__ import annotations

import enum

from alpn.names import H2


def choose(server: tuple[str, ...], offered: tuple[str, ...]) -> str:
    """The negotiated name: the first of the server's that the client offers; "" when there is none.

    No overlap is no error: the handshake goes on without a protocol (RFC 7301 section 3.2 would allow an alert; neither
    OpenSSL with Python's `set_alpn_protocols` nor Envoy sends it).
    """
    for name in server:
        if name in offered:
            return name
    return ""


def match_offer(offered: tuple[str, ...], listed: frozenset[str]) -> str:
    """Filter chain match on application protocols: the first name of the client, in its order, that is listed; or ""."""
    for name in offered:
        if name in listed:
            return name
    return ""


class HttpCodecChoice(enum.Enum):
    """Which HTTP codec a server connection begins with."""

    HTTP1 = enum.auto()
    HTTP2 = enum.auto()
    BY_PREFACE = enum.auto()  # look at the first bytes


def http_codec(negotiated: str) -> HttpCodecChoice:
    """For codec type AUTO: `h2` means HTTP/2, any other name HTTP/1, none at all: look for the HTTP/2 preface.

    The last rule is what serves HTTP/1.0 and clients that offer only `istio`.
    """
    if negotiated == H2:
        return HttpCodecChoice.HTTP2
    return HttpCodecChoice.HTTP1 if negotiated else HttpCodecChoice.BY_PREFACE
