"""What failures look like to the client and in the logs."""

from __future__ import annotations

import pytest

from protocols.http.codec import ResetReason
from protocols.http.headers import Headers
from sidecar.http import local_reply
from sidecar.stream_info import ResponseFlag
from sidecar.upstream.api import UpstreamFailure


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


class TestFailures:
    @pytest.mark.parametrize(
        ("reason", "status", "flag", "name"),
        [
            (
                ResetReason.CONNECTION_TERMINATION,
                503,
                ResponseFlag.UPSTREAM_CONNECTION_TERMINATION,
                "connection termination",
            ),
            (ResetReason.PROTOCOL_ERROR, 502, ResponseFlag.UPSTREAM_PROTOCOL_ERROR, "protocol error"),
            (ResetReason.REMOTE_RESET, 503, ResponseFlag.UPSTREAM_REMOTE_RESET, "remote reset"),
            (
                ResetReason.REMOTE_REFUSED,
                503,
                ResponseFlag.UPSTREAM_REMOTE_RESET,
                "remote refused stream reset",
            ),
            (ResetReason.LOCAL_RESET, 503, ResponseFlag.LOCAL_RESET, "local reset"),
            (ResetReason.OVERFLOW, 503, ResponseFlag.UPSTREAM_OVERFLOW, "overflow"),
        ],
    )
    def test_resets(self, reason: ResetReason, status: int, flag: int, name: str) -> None:
        failure = local_reply.upstream_reset(reason, "", retried=False)
        assert (failure.status, failure.flags) == (status, flag)
        assert failure.body.decode().endswith(f"before headers. reset reason: {name}")
        assert failure.details == f"upstream_reset_before_response_started{{{name.replace(' ', '_')}}}"
        assert failure.overloaded is (reason is ResetReason.OVERFLOW)

    def test_every_reason_has_words(self) -> None:
        for reason in ResetReason:
            assert local_reply.upstream_reset(reason, "", retried=True).body
            assert local_reply.truncated(reason, "")[1]
        for failure in UpstreamFailure:
            assert local_reply.pool_failure(failure, "", retried=False).flags

    def test_transport_failure_stands_in_the_details_only(self) -> None:
        text = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"
        failure = local_reply.pool_failure(UpstreamFailure.CONNECT_FAILURE, text, retried=False)
        assert " " not in failure.details
        assert "CERTIFICATE_VERIFY_FAILED" in failure.details
        assert b"CERTIFICATE" not in failure.body

    def test_truncated(self) -> None:
        details, flags = local_reply.truncated(ResetReason.PROTOCOL_ERROR, "http1.codec_error")
        assert details == "upstream_reset_after_response_started{protocol_error}"
        assert flags == ResponseFlag.UPSTREAM_PROTOCOL_ERROR
