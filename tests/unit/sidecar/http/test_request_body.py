"""How much of a body is kept."""

from __future__ import annotations

from sidecar.http.request_body import BODY_LIMIT_BYTES, RequestBody


def test_join() -> None:
    body = RequestBody()
    assert body.join() == b""
    body.add(b"a")
    assert body.join() == b"a"
    body.add(b"bc")
    assert (body.join(), body.size) == (b"abc", 3)


def test_limit() -> None:
    body = RequestBody()
    body.add(bytes(BODY_LIMIT_BYTES))
    assert not body.is_too_long
    body.add(b"x")
    assert body.is_too_long
