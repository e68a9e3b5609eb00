"""Two kinds of protocol error: ours and theirs (the distinction of h11)."""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of both."""


class LocalProtocolError(ProtocolError):
    """We asked for something the protocol does not allow: a bug in this program, never the peer's doing."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    `details` is Envoy's response code detail where it has one (`http1.codec_error`, `http1.too_many_headers`, ...), fit
    for logs and stats: a short token, never bytes from the wire. `of_stream`: a stream was told of it already. `status` is what a server answers (400, 426, 431, 501).
    `h2_code` is the RFC 9113 section 7 error code for HTTP/2.
    """

    def __init__(self, details: str, *, status: int = 400, h2_code: int = 1) -> None:
        super().__init__(details)
        self.details = details
        self.status = status
        self.h2_code = h2_code
        self.of_stream = False
