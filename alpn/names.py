"""Every ALPN token of an Istio mesh, and the groups that they form."""

from __future__ import annotations

from typing import Final

# Registered names (RFC 7301 section 6); HTTP/1.0 is offered but never negotiated.
HTTP_10: Final = "http/1.0"
HTTP_11: Final = "http/1.1"
H2: Final = "h2"

#: What the HTTP inspector calls HTTP/2 without TLS; never on the wire.
H2C: Final = "h2c"

# Istio's own. A client lists them so that the server can choose a filter chain before TLS starts.
ISTIO: Final = "istio"
ISTIO_PEER_EXCHANGE: Final = "istio-peer-exchange"
ISTIO_HTTP_10: Final = "istio-http/1.0"
ISTIO_HTTP_11: Final = "istio-http/1.1"
ISTIO_H2: Final = "istio-h2"

#: The names that say: mesh mTLS, HTTP inside.
ISTIO_HTTP: Final = (ISTIO_HTTP_10, ISTIO_HTTP_11, ISTIO_H2)

#: The names that say: mesh mTLS, anything inside.
ISTIO_TCP: Final = (ISTIO_PEER_EXCHANGE, ISTIO)

#: Any of these in a ClientHello: the client is a mesh proxy.
ISTIO_MTLS: Final = (ISTIO, ISTIO_PEER_EXCHANGE, *ISTIO_HTTP)

#: What the HTTP inspector can find in plaintext.
PLAINTEXT_HTTP: Final = (HTTP_10, HTTP_11, H2C)
