"""The record of a failure: what is kept, what is not, and how much."""

from __future__ import annotations

import json
import pickle

import pytest

from config.model.core import SocketAddress
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.main.admin.failures import lines
from sidecar.stream_info import (
    ConnectionFacts,
    ConnectionInfo,
    ResponseFlag,
    StreamInfo,
    TlsInfo,
    UpstreamConnectionState,
    UpstreamInfo,
)
from sidecar.telemetry.failures import FIELDS, MAX_ATTEMPTS, MAX_TEXT, Failure, FailureLog, begun, path_of
from stats.failure_family import FailureStats
from stats.store import Store
from tests.support.peer_certificates import peer_certificate

_SECOND_NS = 1_000_000_000
_NOW_NS = 100 * _SECOND_NS


def _log(max_bytes: int = 1 << 20, max_count: int = 1000) -> FailureLog:
    stats = FailureStats(Store().root.scope("failures"))
    return FailureLog(
        stats, max_bytes=max_bytes, max_count=max_count, now_s=lambda: 5.0, now_ns=lambda: _NOW_NS
    )


def _stream(flags: int = ResponseFlag.UPSTREAM_CONNECTION_TERMINATION, **fields: object) -> StreamInfo:
    connection = ConnectionInfo(SocketAddress("10.0.0.1", 4711), SocketAddress("10.0.0.2", 80), "inbound")
    info = StreamInfo(connection, 0.0, _NOW_NS - 2 * _SECOND_NS)
    info.protocol = "HTTP/1.1"
    info.attempt_count = 1
    info.add_flag(flags)
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def _upstream(facts: ConnectionFacts | None = None) -> UpstreamInfo:
    upstream = UpstreamInfo()
    upstream.host_address = SocketAddress("10.0.0.3", 8080)
    upstream.life = facts
    return upstream


def _idle_connection(**fields: object) -> ConnectionFacts:
    known: dict[str, object] = {
        "ended_by": "upstream",
        "how": "FIN",
        "opened_ns": _NOW_NS - 61 * _SECOND_NS,
        "idle_since_ns": _NOW_NS - 60 * _SECOND_NS,
        "exchanges": 15,
        "bytes_received": 500,
        "bytes_sent": 700,
    }
    return ConnectionFacts(**(known | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transport", "name", "spoke", "words"),
    [
        ("raw_buffer", "", "plaintext", "10.0.0.1:4711, which speaks plaintext"),
        ("tls", "a.example", "TLS", "10.0.0.1:4711, which speaks TLS with server name a.example"),
        ("", "", "", "10.0.0.1:4711"),  # nobody has looked
    ],
)
def test_a_connection_without_filter_chain_says_what_it_spoke(
    transport: str, name: str, spoke: str, words: str
) -> None:
    connection = ConnectionInfo(SocketAddress("10.0.0.1", 4711), SocketAddress("10.0.0.2", 80), "inbound")
    connection.transport_protocol, connection.requested_server_name = transport, name
    log = _log()
    log.record_connection(StreamInfo(connection, 0.0, _NOW_NS), None, "no_filter_chain")
    (failure,) = log.newest_first()
    assert failure.client_spoke == spoke
    assert lines(failure)[1].strip() == (
        f"no filter chain of the listener inbound takes the connection of the client {words}"
    )


def _only(log: FailureLog) -> Failure:
    (failure,) = log.newest_first()
    return failure


def test_record_of_an_idle_connection_that_was_closed() -> None:
    log, info = _log(), _stream()
    info.upstream = _upstream(_idle_connection())
    info.cluster_name, info.route_name = "movies", "default"
    log.note_attempt(info, "connection_termination", reused=True, sent_ns=_NOW_NS, bytes_sent=80)
    log.record_stream(info, None)
    failure = _only(log)
    assert (failure.kind, failure.hop, failure.host) == ("upstream_closed", "upstream", "10.0.0.3:8080")
    assert failure.value("connection_age_ms") == 61_000
    assert failure.value("connection_idle_ms") == 60_000
    assert failure.value("connection_requests_before") == 14
    assert failure.value("how") == "FIN"
    assert info.failure is failure


def test_secrets_of_a_request_are_not_kept() -> None:
    log, info = _log(), _stream()
    info.request_headers = Headers.request(
        b"GET",
        b"/login?token=hunter2",
        b"shop.example",
        ((b"authorization", b"Bearer hunter2"), (b"cookie", b"hunter2"), (b"x-request-id", b"id-7")),
    )
    log.record_stream(info, None)
    shown = _only(log).as_json()
    assert "hunter2" not in str(shown)
    assert (shown["path"], shown["authority"], shown["request_id"]) == ("/login?...", "shop.example", "id-7")


def test_texts_of_a_peer_are_bounded_and_printable() -> None:
    log, info = _log(), _stream()
    info.request_headers = Headers.request(b"G" * 999, b"/\x1b[2J\n" + b"x" * 9999, b"y" * 9999)
    log.record_stream(info, None)
    failure = _only(log)
    assert len(failure.path) == len(failure.authority) == MAX_TEXT
    assert len(failure.method) == 32
    assert failure.path.startswith("/?[2J?xx")


@pytest.mark.parametrize(
    ("target", "shown"), [(b"/a", "/a"), (b"/a?", "/a?..."), (b"/a?b=c?d", "/a?..."), (b"*", "*")]
)
def test_path_without_its_query(target: bytes, shown: str) -> None:
    assert path_of(target) == shown


def test_ring_is_bounded_by_count() -> None:
    log = _log(max_count=3)
    for number in range(10):
        log.record_stream(_stream(route_name=str(number)), None)
    assert [each.route for each in log.newest_first()] == ["9", "8", "7"]
    assert (len(log), log.total) == (3, 10)


def test_ring_is_bounded_by_bytes() -> None:
    log = _log(max_bytes=20_000)
    for _ in range(100):
        log.record_stream(_stream(route_name="r" * 250), None)
    assert log.held_bytes <= 20_000
    assert 5 < len(log) < 20


def test_record_larger_than_the_ring_is_counted_and_not_kept() -> None:
    log = _log(max_bytes=10)
    log.record_stream(_stream(), None)
    assert (len(log), log.total, log.held_bytes) == (0, 1, 0)


def test_attempts_are_bounded_and_the_last_one_stays() -> None:
    log, info = _log(), _stream()
    info.upstream = _upstream()
    for number in range(100):
        log.note_attempt(info, str(number))
    failure = begun(info)
    assert len(failure.attempts) == MAX_ATTEMPTS
    assert failure.attempts_left_out == 100 - MAX_ATTEMPTS
    assert (failure.attempts[0].outcome, failure.attempts[-1].outcome) == ("0", "99")


@pytest.mark.parametrize(
    ("flags", "kind", "hop"),
    [
        (
            ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_OVERFLOW,
            "upstream_connect",
            "upstream",
        ),
        (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, "upstream_response", "upstream"),
        (ResponseFlag.UPSTREAM_OVERFLOW, "circuit_breaker", "proxy"),
        (ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION, "client_closed", "downstream"),
        (ResponseFlag.DNS_RESOLUTION_FAILED, "dns", "upstream"),
        (ResponseFlag.DURATION_TIMEOUT, "max_duration", "proxy"),
    ],
)
def test_kind_by_flags(flags: int, kind: str, hop: str) -> None:
    log = _log()
    log.record_stream(_stream(flags), None)
    failure = _only(log)
    assert (failure.kind, failure.hop) == (kind, hop)


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("request_overall_timeout", "client_timeout"),
        ("max_duration_timeout", "max_duration"),
        ("internal_error", "internal"),
        ("rbac_access_denied_matched_policy[none]", "local_reply"),
    ],
)
def test_kind_without_a_flag(details: str, kind: str) -> None:
    log = _log()
    log.record_stream(_stream(0, response_code_details=details, response_code=500), None)
    assert _only(log).kind == kind


def test_peers_are_named() -> None:
    log, info = _log(), _stream()
    info.downstream_peer = PeerMetadata(workload="shop-v1", namespace="default")
    info.upstream_peer = PeerMetadata(workload="movies-v2", namespace="media")
    info.upstream = _upstream()
    log.record_stream(info, None)
    failure = _only(log)
    assert (failure.client_peer, failure.upstream_peer) == ("shop-v1.default", "movies-v2.media")


def test_every_field_can_be_read_of_an_empty_record() -> None:
    failure = Failure()
    values = {name: failure.value(name) for name in FIELDS}
    assert values["kind"] is None
    assert values["retries"] == 0


def test_no_text_of_a_record_has_control_characters() -> None:
    """Whoever writes one: names of peers, errors that quote them, and what comes to mind next year."""
    bad = "a\n\x1b[2J\x9b\u202e\u2028" + "x" * 999
    log, info = _log(), _stream(route_name=bad, cluster_name=bad, response_code_details=bad)
    assert info.connection is not None
    info.connection.listener_name = info.connection.requested_server_name = bad
    info.connection.transport_failure_reason = bad
    info.downstream_peer = PeerMetadata(workload=bad, namespace=bad)
    info.upstream = _upstream(_idle_connection(details=bad, goaway=(1, 0, bad)))
    info.upstream.connection_state = UpstreamConnectionState()
    info.upstream.connection_state.upstream_peer = PeerMetadata(workload=bad)
    certificate = peer_certificate(uri_sans=(bad,), subject=bad)
    info.upstream.tls = info.connection.tls = TlsInfo("TLSv1.3", "x", "", peer=certificate)
    log.note_attempt(info, "connection_termination", bad)
    begun(info).why_not_retried = bad
    log.record_stream(info, None)
    failure = _only(log)
    shown = json.dumps(failure.as_json(), ensure_ascii=False)
    assert json.loads(shown)["client_peer"].startswith("a??[2J???xx")
    assert not set(shown) & {"\x1b", "\x9b", "\u202e", "\u2028"}
    assert "\\n" not in shown and "\\u001b" not in shown
    assert failure.story.isprintable()
    assert all(line.isprintable() for line in lines(failure))


def test_another_process_tells_what_it_has_kept() -> None:
    """It has counted them itself; a lost record still counts. The newest are first, whoever had them."""
    log, other = _log(max_count=3), _log(max_count=2)
    clock = iter(range(1, 10))
    log._now_s = other._now_s = lambda: float(next(clock))
    for each in (other, log, other, other):
        each.record_stream(_stream(), None)
    told = other.last(3)
    assert [failure.time_s for failure in told] == [3.0, 4.0]
    assert other.last(1) == told[1:] and other.last(0) == ()
    log.take_over(pickle.loads(pickle.dumps(told)), 3)
    assert (log.total, len(log)) == (4, 3)
    assert [failure.time_s for failure in log.newest_first()] == [4.0, 3.0, 2.0]
    assert log.held_bytes == sum(failure.size_bytes() for failure in log.newest_first())


def test_facts_of_a_connection_can_be_told_to_another_process() -> None:
    facts = ConnectionFacts("upstream", "RST", 1, 2, 3, 4, 5, "x", True, 7, (1, 2, "bye"))
    assert pickle.loads(pickle.dumps(facts)) == facts
