"""What both roles share."""

from __future__ import annotations

from protocols.http.h1 import CountedBody


def test_counted_body() -> None:
    body = CountedBody(5)
    assert (body.feed(b"he"), body.done) == (b"he", False)
    assert (body.feed(b"lloGET"), body.done, body.surplus) == (b"llo", True, b"GET")
    exact = CountedBody(3)
    data = b"abc"
    assert exact.feed(data) is data  # passed on as it is
    assert (exact.done, exact.surplus) == (True, b"")
