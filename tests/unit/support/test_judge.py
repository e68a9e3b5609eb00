"""The judge of the corpora: outcomes and verdicts from what was observed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.corpora.judge import (
    Observation,
    forbidden_in_head,
    request_outcome,
    request_problems,
    response_outcome,
    response_problems,
)
from tests.support.backends import RecordedRequest
from tests.support.http_client import ResponseReader

_OK = b"HTTP/1.1 200 OK\r\nx-backend: 1\r\ncontent-length: 0\r\n\r\n"
_BAD = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def _reader(data: bytes) -> ResponseReader:
    reader = ResponseReader()
    reader.feed(data)
    return reader


@pytest.mark.parametrize(
    ("data", "closed", "outcome"),
    [
        (b"", False, "wait"),
        (b"", True, "close"),
        (_OK, False, "accept"),
        (_OK, True, "accept+close"),
        (_OK + _BAD, True, "accept+reject-400"),
        (_BAD, False, "reject-400"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", False, "reject-200"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False, "interim-100"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, False, "accept"),
        (_OK[:-10], True, "truncated"),
    ],
)
def test_request_outcomes(data: bytes, closed: bool, outcome: str) -> None:
    assert request_outcome(_reader(data), closed=closed, invalid=False) == outcome


@pytest.mark.parametrize("closed", [False, True])
def test_a_client_that_has_closed_its_side_expects_the_end(closed: bool) -> None:
    assert request_outcome(_reader(_OK), closed=closed, invalid=False, half_closed=True) == "accept"
    assert request_outcome(_reader(_OK[:-10]), closed=True, invalid=False, half_closed=True) == "truncated"


@pytest.mark.parametrize(
    ("data", "closed", "invalid", "outcome"),
    [
        (_OK, False, False, "status-200"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", True, False, "truncated"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", False, False, "stalled"),
        (b"", False, True, "stalled"),
        (b"", True, False, "close"),
        (b"", False, False, "wait"),
    ],
)
def test_response_outcomes(data: bytes, closed: bool, invalid: bool, outcome: str) -> None:
    assert response_outcome(_reader(data), closed=closed, invalid=invalid) == outcome


_HEAD = b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        _HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"),
        _HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: 1\r\n\r\n"),
        _HEAD.replace(b"host: a\r\n", b""),
        _HEAD.replace(b"host: a", b"host: a\r\nHost: b"),
        _HEAD.replace(b"host: a", b"host: a\rb"),
        _HEAD.replace(b"host: a", b"host: a\nx: b"),
        _HEAD.replace(b"host: a", b"host: a\0"),
        _HEAD.replace(b"host: a", b"host: a\r\n folded"),
        _HEAD.replace(b"host: a", b"host : a"),
        _HEAD.replace(b"host: a", b"host: a\r\n(x): 1"),
        _HEAD.replace(b"/p", b"/a b"),
        _HEAD.replace(b"1.1", b"1.0"),
    ],
)
def test_forbidden_heads(head: bytes) -> None:
    assert forbidden_in_head(_HEAD) == []
    assert forbidden_in_head(head) != []


def _accepted(**changes: Any) -> Observation:
    request = RecordedRequest(_HEAD, 1, body=b"x", body_length=1, complete=True)
    seen = Observation(responses=_reader(_OK).responses, requests=[request])
    for name, value in changes.items():
        setattr(seen, name, value)
    return seen


_CASE: dict[str, Any] = {
    "expect": {
        "outcome": "accept",
        "requests": [{"method": "POST", "path": "/p", "headers": {"host": "a"}, "body_len": 1}],
        "must_not_forward": [{"kind": "request-target", "value": "/smuggled"}],
    }
}


def test_a_case_that_passes() -> None:
    assert request_problems(_CASE, "accept", _accepted()) == []


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        ("reject-400", _accepted()),
        ("accept", _accepted(canary="status 503")),
        ("accept", _accepted(leftovers=[b"x"])),
        ("accept", _accepted(requests=[])),
        ("accept", _accepted(requests=[*_accepted().requests, *_accepted().requests])),
        ("accept", _accepted(requests=[RecordedRequest(_HEAD.replace(b"/p", b"/q"), 1, b"x", 1, True)])),
        (
            "accept",
            _accepted(
                requests=[
                    *_accepted().requests,
                    RecordedRequest(_HEAD.replace(b"/p", b"/smuggled"), 1, complete=False),
                ]
            ),
        ),
    ],
)
def test_cases_that_fail(outcome: str, seen: Observation) -> None:
    assert request_problems(_CASE, outcome, seen) != []


def test_a_poisoned_answer_fails() -> None:
    poisoned = _reader(b"HTTP/1.1 200 OK\r\nx-poison: 1\r\ncontent-length: 0\r\n\r\n").responses
    case = {"expect": {"outcome": "status-200"}}
    assert response_problems(case, "status-200", Observation(responses=_reader(_OK).responses)) == []
    assert response_problems(case, "status-200", Observation(responses=poisoned)) != []
