"""Where the outcome differs from Envoy's recorded one although the case passes, and why.

Kept exact by the tests: an entry that is no longer true fails as much as a missing one.
"""

from __future__ import annotations

_STRICTER = "we follow the RFC, Envoy is laxer here"

DIFFERENCES: dict[str, str] = {
    "h1-host-002": _STRICTER + ": a second Host is refused",
    "h1-host-003": _STRICTER + ": a second Host is refused",
    "h1-chunked-009": "a chunk extension has a limit here; Envoy reads extensions of any length",
    "h1-chunked-033": _STRICTER + ": a chunk ends with CRLF, not with a bare LF",
    "h1-request-line-048": "a preface of HTTP/2 that goes wrong is closed at once; Envoy waits for the rest",
    "h1-chunked-037": _STRICTER + ": data beyond the chunk size are refused",
    "h1r-resp-interim-006": "a 101 that nobody asked for is refused; Envoy passes it on",
    "h1r-resp-malformed-002": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-003": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-005": _STRICTER + ": status codes begin at 100",
    "h1r-resp-malformed-007": _STRICTER + ": an answer in HTTP/9.9 is refused",
}
"""Case id of the HTTP/1 corpus to reason, for both codecs."""

HTTP2_DIFFERENCES: dict[str, str] = {
    "h2-frames-009": _STRICTER + ": PRIORITY belongs to a stream",
    "h2-pseudo-headers-037": _STRICTER
    + ": a path is ASCII, and nothing else could be written to an HTTP/1 upstream",
    "h2-flood-012": "fields are counted before they are judged: too many end their stream, bad ones their connection",
}
"""The same for the HTTP/2 corpus; a connection that ends with GOAWAY and one that is only closed count as one outcome."""

HTTP2_ENVOY_BY_TIMING: dict[str, str] = {
    "h2-preface-007": "Envoy takes the preface for HTTP/1 unless it reads all pieces at once, as when this was recorded",
}
"""Where Envoy's own outcome depends on timing although the corpus does not say so."""
