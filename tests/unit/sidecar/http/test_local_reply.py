"""What failures look like to the client and in the logs."""

from __future__ import annotations

import pytest

from protocols.http.headers import Headers
from sidecar.http import local_reply


class TestBuild:
    def test_text(self) -> None:
        headers, body = local_reply.build(Headers.request(b"GET", b"/", b"a"), 503, b"no", ((b"x", b"y"),))
        assert headers.status == 503
        assert list(headers.items()) == [
            (b"x", b"y"),
            (b"content-length", b"2"),
            (b"content-type", b"text/plain"),
        ]
        assert body == b"no"

    def test_nothing_to_say(self) -> None:
        headers, body = local_reply.build(None, 404, b"")
        assert (headers.status, len(headers), body) == (404, 0, b"")

    def test_head_request_gets_the_length_only(self) -> None:
        headers, body = local_reply.build(Headers.request(b"HEAD", b"/", b"a"), 503, b"no")
        assert headers.get(b"content-length") == b"2"
        assert body == b""

    def test_content_type_of_the_caller(self) -> None:
        headers, _ = local_reply.build(None, 200, b"{}", ((b"content-type", b"application/json"),))
        assert headers.get_all(b"content-type") == [b"application/json"]

    def test_the_route_edits_a_head_that_does_not_speak_of_its_body(self) -> None:
        def edit(headers: Headers) -> None:
            assert list(headers.items()) == [(b"x", b"y")]
            headers.add(b"content-type", b"application/json")
            headers.add(b"content-length", b"9")

        headers, body = local_reply.build(None, 503, b"{}", ((b"x", b"y"),), edit)
        assert list(headers.items()) == [
            (b"x", b"y"),
            (b"content-type", b"application/json"),
            (b"content-length", b"2"),
        ]
        assert body == b"{}"
        headers, body = local_reply.build(None, 503, b"", ((b"x", b"y"),), edit)
        assert list(headers.items()) == [(b"x", b"y")]

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
            (418, 2),
        ],
    )
    def test_grpc(self, status: int, code: int) -> None:
        headers, body = local_reply.build(None, status, b"what is wrong", grpc=True)
        assert headers.status == 200
        assert headers.get(b"grpc-status") == b"%d" % code
        assert headers.get(b"grpc-message") == b"what is wrong"
        assert headers.get(b"content-type") == b"application/grpc"
        assert body == b""

    def test_grpc_message_is_encoded(self) -> None:
        headers, _ = local_reply.build(None, 503, "50% \u00e4\n".encode(), grpc=True)
        assert headers.get(b"grpc-message") == b"50%25 %C3%A4%0A"
