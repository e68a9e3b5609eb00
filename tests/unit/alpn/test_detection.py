"""Detection defaults: an uninspected connection is a raw buffer."""

from __future__ import annotations

from alpn.detection import INCOMPLETE, RAW_BUFFER, TLS, Detection


def test_defaults() -> None:
    assert Detection() == Detection(RAW_BUFFER, "", ())
    assert Detection(TLS, "a", ("h2",)).application_protocols == ("h2",)
    assert repr(INCOMPLETE) == "Incomplete()"
