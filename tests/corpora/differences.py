"""Where the outcome differs from Envoy's recorded one although the case passes, and why.

Kept exact by the tests: an entry that is no longer true fails as much as a missing one.
"""

from __future__ import annotations

_STRICTER = "we follow the RFC, Envoy is laxer here"

DIFFERENCES: dict[str, str] = {
    "h1-host-002": _STRICTER + ": a second Host is refused",
    "h1-host-003": _STRICTER + ": a second Host is refused",
    "h1-chunked-037": _STRICTER + ": data beyond the chunk size are refused",
    "h1r-resp-malformed-002": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-003": _STRICTER + ": a status code has three digits",
    "h1r-resp-malformed-005": _STRICTER + ": status codes begin at 100",
}
"""Case id to reason, for both codecs."""
