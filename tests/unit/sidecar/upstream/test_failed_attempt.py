"""What a failed attempt is called."""

from __future__ import annotations

import pytest

from protocols.http.codec import ResetReason
from sidecar.stream_info import ResponseFlag
from sidecar.upstream import failed_attempt
from sidecar.upstream.api import UpstreamFailure


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
def test_resets(reason: ResetReason, status: int, flag: int, name: str) -> None:
    failure = failed_attempt.upstream_reset(reason, "", retried=False)
    assert (failure.status, failure.flags) == (status, flag)
    assert failure.body.decode().endswith(f"before headers. reset reason: {name}")
    assert failure.details == f"upstream_reset_before_response_started{{{name.replace(' ', '_')}}}"
    assert failure.overloaded is (reason is ResetReason.OVERFLOW)


def test_every_reason_has_words() -> None:
    for reason in ResetReason:
        assert failed_attempt.upstream_reset(reason, "", retried=True).body
        assert failed_attempt.truncated(reason, "")[1]
    for failure in UpstreamFailure:
        assert failed_attempt.pool_failure(failure, "", retried=False).flags


def test_transport_failure_stands_in_the_details_only() -> None:
    text = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"
    failure = failed_attempt.pool_failure(UpstreamFailure.CONNECT_FAILURE, text, retried=False)
    assert " " not in failure.details
    assert "CERTIFICATE_VERIFY_FAILED" in failure.details
    assert b"CERTIFICATE" not in failure.body


def test_truncated() -> None:
    details, flags = failed_attempt.truncated(ResetReason.PROTOCOL_ERROR, "http1.codec_error")
    assert details == "upstream_reset_after_response_started{protocol_error}"
    assert flags == ResponseFlag.UPSTREAM_PROTOCOL_ERROR
