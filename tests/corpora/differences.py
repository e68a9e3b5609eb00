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
    "h1-request-line-048": "the half preface of HTTP/2 is closed at once; Envoy waits for the rest",
    "h1-chunked-037": _STRICTER + ": data beyond the chunk size are refused",
    "h1r-resp-interim-006": "a 101 that nobody asked for is refused; Envoy passes it on",
    "h1r-resp-malformed-002": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-003": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-005": _STRICTER + ": status codes begin at 100",
    "h1r-resp-malformed-007": _STRICTER + ": an answer in HTTP/9.9 is refused",
}
"""Case id to reason, for both codecs."""
