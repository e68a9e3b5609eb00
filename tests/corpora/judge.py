"""What happened to an HTTP/1 case, and what of it is wrong. No sockets here.

Outcomes of a request case have one token per answer, joined by `+`: `accept` (the 200 of the backend), `reject-NNN` (an
answer of the proxy), `close` (closed without an answer, or after an `accept` on a connection that should stay open),
`wait` (nothing yet), `non-http1-bytes`, `truncated`. Those of a response case are `status-NNN`, `truncated`, `close`,
`wait` and `stalled` (an answer that is not valid HTTP).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.backends import RecordedRequest
from tests.support.http_client import Response, ResponseReader

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e\x80-\xff]+ HTTP/1\.1\Z")
_FIELD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\Z")


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """What a case has done to the backend and to the next client, whatever the protocol in front."""

    requests: list[RecordedRequest] = field(default_factory=list)
    leftovers: list[bytes] = field(default_factory=list)
    canary: str | None = None
    """What was wrong with the clean request afterwards."""

    def complete(self) -> list[RecordedRequest]:
        return [request for request in self.requests if request.complete]


@dataclass(slots=True, kw_only=True)
class Observation(Aftermath):
    """Everything seen on both sides of the proxy during one HTTP/1 case."""

    responses: list[Response] = field(default_factory=list)
    interim: int = 0
    pending: bool = False
    invalid: str | None = None
    closed: bool = False
    received: int = 0


def case_input(case: Mapping[str, Any]) -> bytes:
    """The bytes that the client sends."""
    if "parts" in case:
        return b"".join(base64.b64decode(part["b64"]) * part["repeat"] for part in case["parts"])
    return base64.b64decode(case["input_b64"])


def allowed_outcomes(case: Mapping[str, Any]) -> list[str]:
    return [case["expect"]["outcome"], *case["expect"].get("also_ok", [])]


def is_allowed(case: Mapping[str, Any], outcome: str) -> bool:
    """Whether the case allows `outcome`; a `*` at the end of an allowed one stands for anything."""
    return any(
        outcome.startswith(each[:-1]) if each.endswith("*") else outcome == each
        for each in allowed_outcomes(case)
    )


def answer_token(response: Response) -> str:
    """`accept` for the 200 of the backend, `reject-NNN` for an answer of the proxy."""
    from_backend = response.status == 200 and response.header("x-backend") is not None
    return "accept" if from_backend else f"reject-{response.status}"


def request_outcome(reader: ResponseReader, *, closed: bool, invalid: bool, half_closed: bool = False) -> str:
    """The outcome of a request case as it stands.

    `half_closed`: the client has closed its side; that the connection ends behind the answer is then no further outcome, whether it is
    still seen or not (RFC 9112 section 9.6).
    """
    tokens = []
    closes = False
    for response in reader.responses:
        if not response.complete:
            break
        tokens.append(answer_token(response))
        closes = (
            half_closed or tokens[-1] != "accept" or (response.header("connection") or "").lower() == "close"
        )
    if invalid:
        tokens.append("non-http1-bytes")
    elif closed and reader.pending:
        tokens.append("truncated")
    elif not tokens:
        tokens.append("close" if closed else "interim-100" if reader.interim else "wait")
    elif closed and not closes:
        tokens.append("close")
    return "+".join(tokens)


def response_outcome(reader: ResponseReader, *, closed: bool, invalid: bool) -> str:
    """The outcome of a response case as it stands."""
    if invalid:
        return "stalled"
    if reader.responses and reader.responses[0].complete:
        return f"status-{reader.responses[0].status}"
    if reader.responses and reader.responses[0].status == 101:
        return "status-101"
    if reader.responses:
        return "truncated" if closed else "stalled"
    return "close" if closed else "wait"


def forbidden_in_head(head: bytes) -> list[str]:
    """What no head sent to a backend may hold."""
    problems = []
    if not head.endswith(b"\r\n\r\n"):
        return ["head without an end"]
    first, *lines = head[:-4].split(b"\r\n")
    if not _REQUEST_LINE.match(first):
        problems.append(f"request line {first[:100]!r}")
    names = []
    for line in lines:
        if not _FIELD_LINE.match(line):
            problems.append(f"header line {line[:100]!r}")
        names.append(line.split(b":", 1)[0].lower())
    if names.count(b"host") != 1:
        problems.append(f"{names.count(b'host')} hosts")
    framing = (b"content-length", b"transfer-encoding")
    problems += [f"two {name.decode()}" for name in framing if names.count(name) > 1]
    if b"content-length" in names and b"transfer-encoding" in names:
        problems.append("content-length and transfer-encoding")
    return problems


def request_problems(case: Mapping[str, Any], outcome: str, seen: Observation) -> list[str]:
    """Everything wrong with a request case; empty when it passes."""
    problems = outcome_problems(case, outcome, seen.invalid)
    problems += aftermath_problems(seen)
    complete = len(seen.complete())
    half_closed = case.get("after_send") == "half-close"
    if complete > len(seen.responses) and not half_closed:
        problems.append(f"{complete} complete requests at the backend for {len(seen.responses)} answers")
    return problems + forwarding_problems(case, outcome.split("+").count("accept"), seen)


def outcome_problems(case: Mapping[str, Any], outcome: str, invalid: str | None) -> list[str]:
    """What is wrong with the outcome; `invalid` says why an answer could not be read."""
    if is_allowed(case, outcome):
        return []
    detail = f" ({invalid})" if invalid else ""
    return [f"outcome {outcome}{detail}, allowed: {', '.join(allowed_outcomes(case))[:300]}"]


def forwarding_problems(case: Mapping[str, Any], accepted: int, seen: Aftermath) -> list[str]:
    """What the backend should have seen of `accepted` requests and has not, and what it should not have seen."""
    problems = []
    complete = seen.complete()
    expected = case["expect"].get("requests", [])[:accepted]
    if accepted and len(complete) < len(expected):
        problems.append(f"{len(complete)} requests at the backend, expected {len(expected)}")
    for number, (want, request) in enumerate(zip(expected, complete, strict=False)):
        problems += [f"request {number}: {problem}" for problem in _request_differences(want, request)]
    for rule in case["expect"].get("must_not_forward", []):
        problems += _forwarded(rule, seen.requests)
    return problems


def aftermath_problems(seen: Aftermath) -> list[str]:
    """What may never happen, whatever the case says."""
    problems = []
    for request in seen.requests:
        problems += [f"forbidden at the backend: {problem}" for problem in forbidden_in_head(request.head)]
    problems += [f"surplus bytes at the backend: {data[:80]!r}" for data in seen.leftovers]
    if seen.canary is not None:
        problems.append(f"clean request afterwards: {seen.canary}")
    return problems


def response_problems(case: Mapping[str, Any], outcome: str, seen: Observation) -> list[str]:
    """Everything wrong with a response case; empty when it passes."""
    expect = case["expect"]
    problems = outcome_problems(case, outcome, seen.invalid)
    problems += aftermath_problems(seen)
    for response in seen.responses:
        if response.header("x-poison") is not None:
            problems.append("x-poison reached the client")
    if outcome != expect["outcome"] or not outcome.startswith("status-") or not seen.responses:
        return problems
    response = seen.responses[0]
    if "body_b64" in expect and response.body != base64.b64decode(expect["body_b64"]):
        problems.append(f"body {response.body[:80]!r}")
    if "body_len" in expect and response.body_length != expect["body_len"]:
        problems.append(f"body of {response.body_length} bytes, expected {expect['body_len']}")
    problems += [
        f"header {name} reached the client"
        for name in expect.get("absent_headers", [])
        if response.header(name) is not None
    ]
    return problems


def _request_differences(want: Mapping[str, Any], request: RecordedRequest) -> list[str]:
    problems = []
    if "method" in want and request.method != want["method"]:
        problems.append(f"method {request.method}, expected {want['method']}")
    if "path" in want and request.target != want["path"]:
        problems.append(f"path {request.target[:100]!r}, expected {want['path'][:100]!r}")
    if "path_any" in want and request.target not in want["path_any"]:
        problems.append(f"path {request.target[:100]!r}, expected one of {want['path_any']}")
    if "path_len" in want and len(request.target) != want["path_len"]:
        problems.append(f"path of {len(request.target)} bytes, expected {want['path_len']}")
    for name, value in want.get("headers", {}).items():
        joined = ",".join(request.values(name))
        if joined != value:
            problems.append(f"header {name} is {joined[:100]!r}, expected {value[:100]!r}")
    problems += [f"header {name} is there" for name in want.get("absent_headers", []) if request.values(name)]
    if "body_b64" in want and request.body != base64.b64decode(want["body_b64"]):
        problems.append(f"body {request.body[:80]!r}")
    if "body_len" in want and request.body_length != want["body_len"]:
        problems.append(f"body of {request.body_length} bytes, expected {want['body_len']}")
    return problems


def _forwarded(rule: Mapping[str, Any], requests: Sequence[RecordedRequest]) -> list[str]:
    kind = rule["kind"]
    for request in requests:
        if (
            (kind == "request-target" and request.target == rule["value"])
            or (kind == "header-name" and request.values(rule["value"]))
            or (kind == "head-bytes" and base64.b64decode(rule["value_b64"]) in request.head)
        ):
            return [f"forbidden {kind} {rule.get('value', rule.get('value_b64'))!r} reached the backend"]
    return []
