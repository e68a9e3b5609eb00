"""The judge of the HTTP/2 corpus: outcomes and verdicts from what was observed."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hpack import Encoder

from tests.corpora.http2_judge import (
    Http2Observation,
    head_streams,
    is_silent,
    may_end_the_connection,
    problems,
    step_input,
    stream_outcome,
    verdict,
)
from tests.corpora.judge import is_allowed
from tests.support.backends import RecordedRequest
from tests.support.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    FrameType,
    SentFrames,
    build_frame,
    build_settings,
)
from tests.support.http2_reader import AnswerReader

_WHOLE = END_HEADERS | END_STREAM


def _head(status: str, flags: int, *fields: tuple[str, str], stream: int = 1) -> bytes:
    return build_frame(FrameType.HEADERS, flags, stream, Encoder().encode([(":status", status), *fields]))


def _reset(code: int, stream: int = 1) -> bytes:
    return build_frame(FrameType.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def _goaway(code: int) -> bytes:
    return build_frame(FrameType.GOAWAY, 0, 0, struct.pack(">LL", 1, code))


_ACCEPT = _head("200", _WHOLE, ("x-backend", "1"))
_PARTIAL = _head("200", END_HEADERS, ("x-backend", "1"))


def _outcome(*frames: bytes, closed: bool = False, invalid: bool = False) -> str:
    sent = SentFrames()
    sent.feed(PREFACE)
    for stream in (1, 3):
        sent.feed(build_frame(FrameType.HEADERS, _WHOLE, stream))
    reader = AnswerReader(sent)
    reader.feed(build_settings() + b"".join(frames))
    return stream_outcome(reader, 1, closed=closed, invalid=invalid)


@pytest.mark.parametrize(
    ("frames", "closed", "outcome"),
    [
        ([], False, "quiet"),
        ([], True, "close"),
        ([_ACCEPT], False, "accept"),
        ([_ACCEPT], True, "accept"),
        ([_ACCEPT, _goaway(0)], True, "accept"),
        ([_ACCEPT, _goaway(1)], True, "conn-error:PROTOCOL_ERROR"),
        ([_ACCEPT, _reset(0)], False, "accept"),
        ([_head("200", _WHOLE)], False, "reject-200"),
        ([_head("404", _WHOLE), _reset(0)], False, "reject-404"),
        ([_head("100", END_HEADERS)], False, "quiet"),
        ([_PARTIAL], False, "partial-200"),
        ([_PARTIAL], True, "close"),
        ([_PARTIAL, _reset(2)], False, "stream-error:INTERNAL_ERROR"),
        ([_reset(1)], True, "stream-error:PROTOCOL_ERROR"),
        ([_reset(1), _goaway(11)], True, "conn-error:ENHANCE_YOUR_CALM"),
        ([_goaway(0)], True, "goaway:NO_ERROR"),
        ([_goaway(0), _goaway(3)], False, "conn-error:FLOW_CONTROL_ERROR"),
        ([_head("200", _WHOLE, stream=3), _reset(1, stream=3)], False, "quiet"),
    ],
)
def test_outcomes(frames: list[bytes], closed: bool, outcome: str) -> None:
    assert _outcome(*frames, closed=closed) == outcome


def test_an_answer_that_is_no_http2_is_an_outcome_of_its_own() -> None:
    assert _outcome(_ACCEPT, closed=True, invalid=True) == "invalid-http2"


def test_only_waiting_tells_of_silence() -> None:
    assert is_silent("quiet")
    assert is_silent("partial-200")
    assert not is_silent("accept")
    assert may_end_the_connection({"expect": {"outcome": "accept", "also_ok": ["conn-error:*"]}})
    assert not may_end_the_connection({"expect": {"outcome": "accept", "also_ok": ["stream-error:*"]}})


def test_a_star_is_a_prefix_match() -> None:
    case = {"expect": {"outcome": "reject-431", "also_ok": ["stream-error:*"]}}
    assert is_allowed(case, "stream-error:INTERNAL_ERROR")
    assert is_allowed(case, "reject-431")
    assert not is_allowed(case, "reject-4311")
    assert not is_allowed(case, "conn-error:INTERNAL_ERROR")


def test_a_reason_for_the_end_of_a_connection_is_no_difference() -> None:
    assert verdict("conn-error:PROTOCOL_ERROR") == verdict("close")
    assert verdict("goaway:NO_ERROR") != verdict("close")
    assert verdict("stream-error:CANCEL") == "stream-error:CANCEL"


def test_steps() -> None:
    ping = build_frame(FrameType.PING, 0, 0, bytes(8))
    head = build_frame(FrameType.HEADERS, _WHOLE, 1, b"x")
    assert step_input({"hex": ping.hex(), "repeat": 3}) == ping * 3
    numbered = step_input({"hex": (ping + head).hex(), "repeat": 2, "stream_increment": 2})
    assert numbered == ping + head + ping + build_frame(FrameType.HEADERS, _WHOLE, 3, b"x")


def test_an_answer_to_head_is_expected_where_the_case_asks_head() -> None:
    assert head_streams({"expect": {"stream": 3, "requests": [{"method": "HEAD"}]}}) == {3}
    assert head_streams({"expect": {"requests": [{"method": "GET"}]}}) == frozenset()
    assert head_streams({"expect": {}}) == frozenset()


_HEAD = b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"
_CASE: dict[str, Any] = {
    "expect": {
        "outcome": "accept",
        "also_ok": ["conn-error:*"],
        "requests": [{"method": "POST", "path": "/p", "body_len": 1}],
        "must_not_forward": [{"kind": "request-target", "value": "/smuggled"}],
        "max_backend_requests": 2,
    }
}


def _request(head: bytes = _HEAD, *, complete: bool = True) -> RecordedRequest:
    return RecordedRequest(head, 1, body=b"x", body_length=1, complete=complete)


def _seen(*more: RecordedRequest, **changes: Any) -> Http2Observation:
    seen = Http2Observation(requests=[_request(), *more], opened=1)
    for name, value in changes.items():
        setattr(seen, name, value)
    return seen


def test_a_case_that_passes() -> None:
    assert problems(_CASE, "accept", _seen()) == []
    assert problems(_CASE, "conn-error:STREAM_CLOSED", _seen(requests=[])) == []


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        ("close", _seen()),
        ("invalid-http2", _seen(invalid="PUSH_PROMISE")),
        ("accept", _seen(canary="status 503")),
        ("accept", _seen(leftovers=[b"x"])),
        ("accept", _seen(hanging=1)),
        ("accept", _seen(requests=[])),
        ("accept", _seen(requests=[_request(_HEAD.replace(b"/p", b"/q"))])),
        ("accept", _seen(_request())),
        ("accept", _seen(_request(complete=False), _request(complete=False))),
        ("accept", _seen(_request(_HEAD.replace(b"/p", b"/smuggled"), complete=False))),
        ("conn-error:CANCEL", _seen(requests=[_request(_HEAD.replace(b"host: a\r\n", b""))])),
    ],
)
def test_cases_that_fail(outcome: str, seen: Http2Observation) -> None:
    assert problems(_CASE, outcome, seen) != []
