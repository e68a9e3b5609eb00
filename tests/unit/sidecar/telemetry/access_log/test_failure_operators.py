"""`%FAILURE_CAUSE%` and `%FAILURE(field)%`."""

from __future__ import annotations

import json

import pytest

from config.model.core import SocketAddress
from sidecar.stream_info import ConnectionInfo, StreamInfo
from sidecar.telemetry.access_log.format import FormatError, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.failures import Attempt, Failure


def _info(failure: Failure | None) -> StreamInfo:
    info = StreamInfo(ConnectionInfo(SocketAddress("10.0.0.1", 1), SocketAddress("10.0.0.2", 2)), 0.0, 0)
    info.failure = failure
    return info


_REFUSED = Failure(
    kind="upstream_connect",
    hop="upstream",
    retries=2,
    attempts=[Attempt("10.0.0.3:80", "connect_failure", "Connection refused", age_ns=1_500_000)],
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%FAILURE(kind)% %FAILURE(HOP)% %FAILURE(retries)%", b"upstream_connect upstream 2"),
        ("%FAILURE(connection_age_ms)% %FAILURE(tls_error)%", b"1.5 -"),
        ("%FAILURE_CAUSE%", b"no connection to the upstream 10.0.0.3:80: Connection refused"),
        ("%FAILURE_CAUSE:13%", b"no connection"),
    ],
)
def test_of_a_failure(text: str, line: bytes) -> None:
    assert compile_format(text)(_info(_REFUSED)) == line


def test_json_has_numbers_and_truth_values() -> None:
    template = {
        "kind": "%FAILURE(kind)%",
        "retries": "%FAILURE(retries)%",
        "reused": "%FAILURE(connection_reused)%",
        "tls": "%FAILURE(tls_error)%",
    }
    line = compile_json_format(template)(_info(_REFUSED))
    assert json.loads(line) == {"kind": "upstream_connect", "retries": 2, "reused": False, "tls": None}


def test_without_a_failure() -> None:
    assert compile_format("%FAILURE(kind)% %FAILURE_CAUSE%")(_info(None)) == b"- -"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("%FAILURE(knid)%", "did you mean 'kind'?"),
        ("%FAILURE(zzzzzz)%", "one of time, kind"),
        ("%FAILURE%", r"needs \(FIELD\)"),
        ("%FAILURE(kind):5%", "length"),
        ("%FAILURE_CAUSE(kind)%", "takes no argument"),
    ],
)
def test_mistakes_are_refused(text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        compile_format(text)
