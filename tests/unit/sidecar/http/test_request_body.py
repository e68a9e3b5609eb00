"""How much of a body is kept."""

from __future__ import annotations

from sidecar.http.request_body import REPLAY_LIMIT_BYTES, WAITING_LIMIT_BYTES, RequestBody


def test_join() -> None:
    body = RequestBody()
    assert body.join() == b""
    body.add(b"a")
    assert body.join() == b"a"
    body.add(b"bc")
    assert (body.join(), body.size) == (b"abc", 3)


def test_limits() -> None:
    body = RequestBody()
    body.add(bytes(REPLAY_LIMIT_BYTES))
    assert not body.too_long_to_repeat
    body.add(b"x")
    assert body.too_long_to_repeat
    assert not body.too_long_to_wait
    body.add(bytes(WAITING_LIMIT_BYTES))
    assert body.too_long_to_wait
