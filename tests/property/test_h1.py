"""HTTP/1 codecs under mutated input: accepted or refused, never anything else, and both codecs agree.

What a proxy would write for an accepted request is read again by the same check and means the same.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.http import h1_h11, h1_httptools, head
from protocols.http.codec import CodecSettings, HttpVersion
from protocols.http.head import read_request_head, read_response_head
from protocols.http.head_lines import METHODS
from protocols.http.head_writer import write_request_head, write_response_head
from protocols.http.headers import Headers
from protocols.http.path import EscapedSlashes, PathRules, PathVerdict, apply_path_rules
from tests.unit.protocols.http.recorder import Exchange, MiniProxy, Recorder

SETTINGS = CodecSettings(
    max_head_bytes=2000,
    enable_trailers=True,
    accept_http_10=True,
    allowed_upgrades=frozenset((b"websocket",)),
)
EXAMPLES = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_CORPUS = json.loads((Path(__file__).parents[1] / "corpora" / "http1.json").read_text(encoding="utf-8"))
REQUESTS = [
    text
    for case in _CORPUS["cases"]
    if len(text := base64.b64decode(case.get("input_b64", ""))) in range(1, 1000)
]
RESPONSES = [
    text
    for case in _CORPUS["responses"]
    if (text := b"".join(base64.b64decode(step.get("send_b64", "")) for step in case["backend_steps"]))
]
INTERESTING = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"0\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"HTTP/1.0", b"HTTP/1.1 204 N\r\n", b"%00", b"\xff", b"#",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes flipped, cut out, doubled, spliced in or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            data = data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:]
        elif kind == 3:
            data = data[:at] + draw(st.sampled_from(INTERESTING)) + data[at:]
        else:
            data = data[:at] + draw(st.sampled_from(seeds))
    return data


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def unambiguous(text: bytes) -> None:
    assert re.fullmatch(rb"[^\r\n\x00]+\r\n(?:[!#$%&'*+\-.^_`|~0-9a-z]+: [^\r\n\x00]*\r\n)+\r\n", text)
    names = re.findall(rb"\r\n([^:\r\n]+):", text)
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


def body(exchange: Exchange, outcome: str) -> bytes:
    """How much of a bad body was told before it turned bad depends on the cuts."""
    return b"" if "reject" in outcome and not exchange.complete else exchange.body


@EXAMPLES
@given(mutated(REQUESTS), st.lists(st.integers(0, 2000), max_size=4), st.booleans())
def test_mutated_requests(data: bytes, points: list[int], half_close: bool) -> None:
    seen = []
    for module in (h1_httptools, h1_h11):
        for pieces in ([data], cut(data, points)):
            proxy = MiniProxy(module, SETTINGS)
            outcome = proxy.play(pieces, half_close)
            for exchange in proxy.exchanges:
                if exchange.head:
                    unambiguous(exchange.head)
            seen.append(
                (
                    outcome,
                    [(repr(e.headers), body(e, outcome), e.complete, e.head) for e in proxy.exchanges],
                    [repr(trailers) for trailers in proxy.trailers],
                )
            )
    first = seen[0]
    assert seen == [first] * len(seen)


@EXAMPLES
@given(
    mutated(RESPONSES),
    st.lists(st.integers(0, 2000), max_size=4),
    st.sampled_from([b"GET", b"HEAD", b"CONNECT", b"upgrade"]),
    st.booleans(),
)
def test_mutated_responses(data: bytes, points: list[int], method: bytes, closes: bool) -> None:
    request = Headers.request(b"GET" if method == b"upgrade" else method, b"/", b"a:80")
    if method == b"upgrade":
        request.add(b"connection", b"Upgrade")
        request.add(b"upgrade", b"websocket")
    seen = []
    for module in (h1_httptools, h1_h11):
        for pieces in ([data], cut(data, points)):
            sink = Recorder()
            codec = module.client_codec(sink, SETTINGS)
            codec.send_headers(codec.new_stream(), request, method in (b"GET", b"HEAD"))
            refused = ""
            try:
                for piece in pieces:
                    codec.receive(piece)
                if closes:
                    codec.receive_eof()
            except RemoteProtocolError as error:
                refused = error.details
                assert codec.must_close
            heads = [repr(headers) for headers in sink.headers]
            ends = [
                event[0] for event in sink.events if event[-1] is True or event[0] in ("trailers", "reset")
            ]
            seen.append(
                (refused, heads, sink.body if not refused else b"", ends, codec.must_close, codec.idle)
            )
    first = seen[0]
    assert seen == [first] * len(seen)


@EXAMPLES
@given(mutated(REQUESTS))
def test_the_short_way_accepts_what_the_long_way_accepts(data: bytes) -> None:
    results: list[object] = []
    for read in (read_request_head, head._read_request_head):
        try:
            found = read(data, SETTINGS)
        except RemoteProtocolError as error:
            results.append((error.status, error.details))
        else:
            results.append(
                found
                and (
                    repr(found.headers),
                    found.version,
                    found.length,
                    found.size,
                    found.keep_alive,
                    found.upgrade,
                )
            )
    assert results[0] == results[1]


NAMES = st.one_of(
    st.sampled_from(
        [b"content-length", b"transfer-encoding", b"connection", b"host", b"te", b"x-a", b"X", b""]
    ),
    st.binary(max_size=4),
)
VALUES = st.one_of(st.sampled_from([b"5", b"0", b"chunked", b"close"]), st.binary(max_size=6))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
WORDS = st.one_of(
    st.sampled_from([b"GET", b"POST", b"CONNECT", b"/p", b"a:80", b"*"]),
    st.binary(max_size=4),
    st.just(b"/\x80"),
)


@EXAMPLES
@given(WORDS, WORDS, WORDS, FIELDS, st.booleans(), st.booleans())
def test_written_requests_mean_one_thing(
    method: bytes, path: bytes, authority: bytes, fields: list[tuple[bytes, bytes]], end: bool, upgrade: bool
) -> None:
    headers = Headers.request(method, path, authority, fields)
    try:
        text, length = write_request_head(headers, end, upgrade)
    except LocalProtocolError:
        return
    unambiguous(text)
    if method not in METHODS or upgrade:
        return
    try:
        found = read_request_head(text, CodecSettings(max_headers=1000))
    except RemoteProtocolError as error:
        # Hosts have a narrower grammar for the reader than for the writer, which takes what another protocol judged.
        assert error.details in ("http.invalid_authority", "http1.invalid_url", "http1.codec_error")
        assert method == b"CONNECT" or path == b"*" or error.details == "http.invalid_authority"
        return
    assert found is not None
    assert (found.size, found.length) == (len(text), length)
    assert (found.headers.method, found.headers.authority) == (method, authority)


@EXAMPLES
@given(st.integers(90, 1010), FIELDS, st.booleans(), st.sampled_from([b"GET", b"HEAD"]), st.booleans())
def test_written_responses_mean_one_thing(
    status: int, fields: list[tuple[bytes, bytes]], end: bool, method: bytes, close: bool
) -> None:
    headers = Headers.response(status, [field for field in fields if field[0] != b"host"])
    try:
        text, length = write_response_head(
            headers, end, method=method, version=HttpVersion.HTTP11, close=close, upgrade=False
        )
    except LocalProtocolError:
        return
    found = read_response_head(text, SETTINGS)
    assert found is not None
    assert (found.size, found.headers.status) == (len(text), status)
    if length >= -1:
        assert found.length == length
    if status >= 200:
        assert found.keep_alive is not close


@EXAMPLES
@given(
    st.text('/.%2eEfF5cC\\;a?#0"|', max_size=30),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(EscapedSlashes)),
)
def test_paths_are_normalised_once_and_for_all(
    text: str, normalize: bool, merge: bool, escaped: EscapedSlashes
) -> None:
    rules = PathRules(normalize, merge, escaped)
    target = b"/" + text.encode()
    path, verdict = apply_path_rules(target, rules)
    if verdict is PathVerdict.REJECT:
        return
    assert path.startswith(b"/")
    bare = path.partition(b"?")[0]
    assert path.partition(b"?")[1:] == target.partition(b"?")[1:]
    if normalize:
        assert b"\\" not in bare
        assert not re.search(rb"/\.\.?(?:;[^/]*)?(?:/|$)", bare)
    if merge:
        assert b"//" not in bare
    if normalize and escaped is EscapedSlashes.KEEP_UNCHANGED:
        assert apply_path_rules(path, rules) == (path, PathVerdict.FORWARD)
