"""Every case of the HTTP/1 corpus at codec level, over both codecs, whole, byte by byte and cut in two."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from protocols.errors import RemoteProtocolError
from protocols.http.codec import CodecSettings
from protocols.http.headers import Headers
from tests.unit.protocols.http.recorder import CODECS, MiniProxy, Recorder, codec_name

CORPUS = json.loads((Path(__file__).parents[3] / "corpora" / "http1.json").read_text(encoding="utf-8"))
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in CORPUS["cases"]}
RESPONSES: dict[str, dict[str, Any]] = {case["id"]: case for case in CORPUS["responses"]}
SETTINGS = CodecSettings(allowed_upgrades=frozenset((b"websocket",)))

#: Cases whose outcome is not the codec's: what the codec does instead, and who decides.
DECIDED_LATER = {
    "h1-request-line-041": ("accept", "a fragment is refused with the path rules"),
    "h1-request-line-048": ("reject-400", "an HTTP/2 preface never reaches this codec"),
    "h1-target-form-004": ("accept", "a path without slash has no route: connection manager"),
    "h1-target-form-010": ("accept", "a fragment is refused with the path rules"),
    "h1-target-form-011": ("wait", "CONNECT is a tunnel until the connection manager refuses it"),
    "h1-target-form-016": ("accept", "OPTIONS * has no route: connection manager"),
    "h1-host-001": ("accept", "a missing host is refused by the connection manager"),
    "h1-smuggling-021": ("accept", "the nominated host is taken out, then it is missing: connection manager"),
    "h1-smuggling-027": ("wait", "an upgrade is held until it is answered"),
    "h1-expect-upgrade-006": ("wait", "an upgrade is held until it is answered"),
    "h1-expect-upgrade-010": ("wait", "an upgrade is held until it is answered"),
}

#: Outcomes that differ from the reference within what is allowed.
STRICTER_THAN_REFERENCE = {
    "h1-host-002": "two Host fields",
    "h1-host-003": "two Host fields",
    "h1-chunked-009": "a chunk extension of 100 kB",
    "h1-chunked-033": "bare LF after chunk data",
    "h1-chunked-037": "chunk data longer than its size",
}

_FORWARDED = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)+\r\n"
)


def case_input(case: dict[str, Any]) -> bytes:
    if "parts" in case:
        return b"".join(base64.b64decode(part["b64"]) * part["repeat"] for part in case["parts"])
    return base64.b64decode(case["input_b64"])


def run(module: ModuleType, case: dict[str, Any], pieces: list[bytes]) -> tuple[str, MiniProxy]:
    proxy = MiniProxy(module, SETTINGS)
    return proxy.play(pieces, case.get("after_send") == "half-close"), proxy


def allowed(case: dict[str, Any]) -> list[str]:
    if case["id"] in DECIDED_LATER:
        return [DECIDED_LATER[case["id"]][0]]
    return [case["expect"]["outcome"], *case["expect"].get("also_ok", [])]


def check(case: dict[str, Any], outcome: str, proxy: MiniProxy) -> None:
    assert outcome in allowed(case), proxy.details
    for exchange in proxy.exchanges:
        if exchange.head:
            check_forwarded(exchange.head)
    expected = case["expect"].get("requests", [])
    if outcome.startswith("accept") and expected and case["id"] not in DECIDED_LATER:
        assert len(proxy.exchanges) >= len(expected)
        for request, exchange in zip(expected, proxy.exchanges, strict=False):
            check_request(request, exchange.headers, exchange.body)
    for rule in case["expect"].get("must_not_forward", []):
        for exchange in proxy.exchanges:
            if rule["kind"] == "request-target":
                assert b" %b HTTP" % rule["value"].encode("latin-1") not in exchange.head
            elif rule["kind"] == "header-name":
                assert rule["value"].encode("latin-1") not in exchange.headers
            else:
                assert base64.b64decode(rule["value_b64"]) not in exchange.head


def check_forwarded(head: bytes) -> None:
    """The invariants of the corpus for every head that goes to a backend."""
    assert _FORWARDED.fullmatch(head), head
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:-2]]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


def check_request(expected: dict[str, Any], headers: Headers, body: bytes) -> None:
    assert headers.method.decode() == expected["method"]
    path = headers.path.decode("latin-1")
    if "path" in expected:
        assert path == expected["path"]
    if "path_any" in expected:
        assert path in expected["path_any"]
    if "path_len" in expected:
        assert len(path) == expected["path_len"]
    for name, value in expected.get("headers", {}).items():
        found = headers.authority if name == "host" else headers.joined(name.encode())
        assert found is not None and re.sub(rb", *", b",", found) == re.sub(
            rb", *", b",", value.encode("latin-1")
        )
    if "body_b64" in expected:
        assert body == base64.b64decode(expected["body_b64"])
    if "body_len" in expected:
        assert len(body) == expected["body_len"]


@pytest.mark.parametrize("module", CODECS, ids=codec_name)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_request_whole(module: ModuleType, case: dict[str, Any]) -> None:
    outcome, proxy = run(module, case, [case_input(case)])
    check(case, outcome, proxy)


@pytest.mark.parametrize("module", CODECS, ids=codec_name)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_request_in_pieces(module: ModuleType, case: dict[str, Any]) -> None:
    """Byte by byte; large inputs in pieces of a prime size."""
    data = case_input(case)
    step = 1 if len(data) <= 2000 else 997
    outcome, proxy = run(module, case, [data[i : i + step] for i in range(0, len(data), step)])
    check(case, outcome, proxy)
    whole, _ = run(module, case, [data])
    assert outcome == whole


@pytest.mark.parametrize("module", CODECS, ids=codec_name)
def test_accepted_requests_cut_in_two(module: ModuleType) -> None:
    for case in CASES.values():
        data = case_input(case)
        if not case["expect"]["outcome"].startswith("accept") or len(data) > 400:
            continue
        whole, first = run(module, case, [data])
        for cut in range(1, len(data)):
            outcome, proxy = run(module, case, [data[:cut], data[cut:]])
            assert outcome == whole, (case["id"], cut)
            assert [e.head for e in proxy.exchanges] == [e.head for e in first.exchanges], (case["id"], cut)
            assert [e.body for e in proxy.exchanges] == [e.body for e in first.exchanges], (case["id"], cut)


def test_outcomes_are_those_of_the_reference() -> None:
    """Parity with Envoy 1.40 where the codec decides, but for the list above."""
    different = {}
    for case in CASES.values():
        if case["id"] in DECIDED_LATER or case.get("varies"):
            continue
        outcome, _ = run(CODECS[0], case, [case_input(case)])
        if outcome != case["envoy"]["outcome"]:
            different[case["id"]] = (outcome, case["envoy"]["outcome"])
    assert different.keys() == STRICTER_THAN_REFERENCE.keys(), different


def test_details_are_those_of_the_reference() -> None:
    for case in CASES.values():
        outcome, proxy = run(CODECS[0], case, [case_input(case)])
        logged = (case["envoy"].get("log") or [""])[-1]
        if outcome == case["envoy"]["outcome"] and proxy.details and "flags=DPE" in logged:
            assert logged.endswith(f"details={proxy.details}"), case["id"]


#: Upstream answers that the reference forwards and this codec refuses.
POISONED = {
    "h1r-resp-malformed-002": "status of two digits",
    "h1r-resp-malformed-003": "status of four digits",
    "h1r-resp-malformed-005": "status 000",
    "h1r-resp-malformed-007": "version HTTP/9.9",
    "h1r-resp-interim-006": "101 nobody asked for",
}


def run_response(module: ModuleType, case: dict[str, Any], step: int) -> tuple[str, Recorder]:
    """The outcome as a client would see it: `status-NNN`, `truncated`, or 502/503 for what failed before the head."""
    sink = Recorder()
    codec = module.client_codec(sink, CodecSettings())
    request = base64.b64decode(case["request_b64"])
    method = request.split(b" ")[0]
    codec.send_headers(codec.new_stream(), Headers.request(method, b"/resp", b"a.example"), True)
    codec.take_output()
    try:
        for action in case["backend_steps"]:
            if "send_b64" in action:
                data = base64.b64decode(action["send_b64"]) * action.get("repeat", 1)
                for start in range(0, len(data), step):
                    codec.receive(data[start : start + step])
            elif action.get("do") in ("close", "rst", "half-close"):
                codec.receive_eof()
    except RemoteProtocolError:
        assert codec.must_close
    final = [h for h in sink.headers if h.status >= 200 or h.status == 101]
    ended = any(event[-1] is True for event in sink.events) or any(e[0] == "trailers" for e in sink.events)
    if not final:
        return ("status-503" if any(e[0] == "reset" for e in sink.events) else "status-502"), sink
    return (f"status-{final[0].status}" if ended else "truncated"), sink


@pytest.mark.parametrize("step", [1 << 20, 1])
@pytest.mark.parametrize("module", CODECS, ids=codec_name)
@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES.keys())
def test_response(module: ModuleType, case: dict[str, Any], step: int) -> None:
    if step == 1 and sum(action.get("repeat", 1) for action in case["backend_steps"]) > 10_000:
        step = 997
    expect = case["expect"]
    outcome, sink = run_response(module, case, step)
    assert outcome in [expect["outcome"], *expect.get("also_ok", [])]
    if case["id"] not in POISONED:
        assert outcome == case["envoy"]["outcome"]
    else:
        assert outcome == "status-502"
    if "body_b64" in expect:
        assert sink.body == base64.b64decode(expect["body_b64"])
    if "body_len" in expect:
        assert len(sink.body) == expect["body_len"]
    for headers in sink.headers:
        assert not any(name.encode() in headers for name in expect.get("absent_headers", []))
        assert b"x-poison" not in headers
