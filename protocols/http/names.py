"""Header names and common values as bytes constants, written once so that dict look-ups meet the same object."""

from __future__ import annotations

from typing import Final

ACCEPT: Final = b"accept"
AUTHORIZATION: Final = b"authorization"
CONNECTION: Final = b"connection"
CONTENT_LENGTH: Final = b"content-length"
CONTENT_TYPE: Final = b"content-type"
COOKIE: Final = b"cookie"
DATE: Final = b"date"
EXPECT: Final = b"expect"
GRPC_MESSAGE: Final = b"grpc-message"
GRPC_STATUS: Final = b"grpc-status"
GRPC_TIMEOUT: Final = b"grpc-timeout"
HOST: Final = b"host"
HTTP2_SETTINGS: Final = b"http2-settings"
KEEP_ALIVE: Final = b"keep-alive"
LOCATION: Final = b"location"
PROXY_AUTHORIZATION: Final = b"proxy-authorization"
PROXY_CONNECTION: Final = b"proxy-connection"
SERVER: Final = b"server"
SET_COOKIE: Final = b"set-cookie"
TE: Final = b"te"
TRAILER: Final = b"trailer"
TRANSFER_ENCODING: Final = b"transfer-encoding"
UPGRADE: Final = b"upgrade"
USER_AGENT: Final = b"user-agent"
VIA: Final = b"via"
X_FORWARDED_CLIENT_CERT: Final = b"x-forwarded-client-cert"
X_FORWARDED_FOR: Final = b"x-forwarded-for"
X_FORWARDED_HOST: Final = b"x-forwarded-host"
X_FORWARDED_PROTO: Final = b"x-forwarded-proto"
X_REQUEST_ID: Final = b"x-request-id"

CHUNKED: Final = b"chunked"
CLOSE: Final = b"close"
TRAILERS: Final = b"trailers"
CONNECT: Final = b"CONNECT"
GET: Final = b"GET"
HEAD: Final = b"HEAD"
OPTIONS: Final = b"OPTIONS"

#: Fields that belong to one hop (RFC 9110 section 7.6.1). HTTP/1 codecs take them out of what they hand on, except
#: `te: trailers` and, on an upgrade, `connection` and `upgrade`; HTTP/2 forbids them (RFC 9113 section 8.2.2).
HOP_BY_HOP: Final = frozenset(
    (CONNECTION, HTTP2_SETTINGS, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE)
)

#: Any of these present: the message needs more than its fields handed on.
FRAMING_OR_HOP_BY_HOP: Final = HOP_BY_HOP | {CONTENT_LENGTH}

#: A request that nominates one of these for removal could hide where it comes from; Envoy refuses it.
NEVER_NOMINATED: Final = frozenset((X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO))
