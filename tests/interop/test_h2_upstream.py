"""An HTTP/2 upstream that does everything it may: limits, GOAWAY, RST_STREAM, small windows, silence, early answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.interop.differences import H2_UPSTREAM
from tests.interop.stage import H2, Stage
from tests.support.any_client import PROTOCOLS, any_client
from tests.support.bootstraps import Json, cluster, http_options, route_to
from tests.support.h2_backend import (
    BodyEnd,
    Data,
    Gate,
    H2Backend,
    H2Request,
    H2Script,
    Head,
    Rst,
    Wait,
    default_answer,
    ok,
)
from tests.support.h2_client import H2Client
from tests.support.pattern import PERIOD, piece

MIB = 1 << 20
MANY = 50
LARGE_BYTES = 256 * MIB
MAX_GROWTH_BYTES = 24 * MIB
KEEPALIVE_S = 0.3
PONG_TIMEOUT_S = 0.2

_GIVEN_UP = (ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL)
"""The codes that say to an upstream that nobody waits for its answer; Envoy sends the first."""

_RETRY_REFUSED = {"retry_on": "refused-stream", "num_retries": 3}
_WINDOWS = {"initial_stream_window_size": 65536, "initial_connection_window_size": MIB}
_BEFORE_HEAD = "upstream_reset_before_response_started"
_AFTER_HEAD = "upstream_reset_after_response_started"
_ERROR_BODY = b"upstream connect error or disconnect/reset before headers. reset reason: "

_REASONS = {
    ErrorCodes.REFUSED_STREAM: "remote refused stream reset",
    ErrorCodes.PROTOCOL_ERROR: "protocol error",
    ErrorCodes.CONNECT_ERROR: "remote error with CONNECT request",
}
"""What Envoy calls a RST_STREAM with these codes; all others are a remote reset."""


def _start(stage: Stage, backend: H2Backend, *, retry: Json | None = None, **fields: Any) -> H2Backend:
    """One cluster behind one listener that takes both protocols."""
    action: dict[str, Any] = {"retry_policy": retry} if retry else {}
    route = route_to("app", timeout="0s", **action)
    listener = stage.http_listener(route, delayed_close_timeout="0.1s")
    stage.start([listener], [cluster("app", backend.address, **(fields or H2))])
    return backend


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    created = Stage(tmp_path)
    yield created
    created.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, H2Backend]]:
    """A proxy and a backend for the tests that need nothing special and leave nothing behind."""
    created = Stage(tmp_path_factory.mktemp("plain"))
    backend = _start(created, created.h2_backend())
    yield created, backend
    created.close()


# Streams and connections


def test_requests_of_many_clients_share_one_connection(stage: Stage) -> None:
    gate = Gate()
    backend = _start(stage, stage.h2_backend(lambda _: [Wait(gate), *ok()]))
    with contextlib.ExitStack() as stack:
        h2 = stack.enter_context(H2Client(stage.address))
        streams = [h2.begin("GET", f"/h2/{number}", end=True) for number in range(MANY)]
        h1 = [stack.enter_context(any_client("HTTP/1.1", stage.address)) for _ in range(10)]
        for number, client in enumerate(h1):
            client.send_head("GET", f"/h1/{number}")
        backend.wait_requests(MANY + 10)
        gate.open()
        assert [h2.wait(stream).status for stream in streams] == [200] * MANY
        assert [client.wait().status for client in h1] == [200] * 10
    (connection,) = backend.connections
    assert connection.streams_at_once == MANY + 10
    assert sorted({request.stream for request in backend.requests}) == list(range(1, 2 * (MANY + 10), 2))
    assert stage.proxy.stat("cluster.app.upstream_cx_http2_total") == 1


def _burst(stage: Stage, backend: H2Backend, count: int, *, one_by_one: bool) -> list[int | None]:
    """The statuses of requests that are all open together."""
    gate = Gate()
    backend.answer = lambda _: [Wait(gate), *ok()]
    with H2Client(stage.address) as client:
        streams = []
        for number in range(count):
            streams.append(client.begin("GET", f"/{number}", end=True))
            if one_by_one:
                backend.wait_requests(number + 1)
        if one_by_one:
            gate.open()
        else:
            backend.wait_requests(1)
            threading.Timer(0.2, gate.open).start()  # nothing tells that a proxy has chosen to wait
        return [client.wait(stream).status for stream in streams]


def test_a_full_connection_makes_another(stage: Stage) -> None:
    backend = _start(stage, stage.h2_backend(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}))
    assert _burst(stage, backend, 10, one_by_one=True) == [200] * 10
    assert [connection.streams_at_once for connection in backend.connections] == [2] * 5
    assert backend.refused == 0


def test_a_limit_of_the_cluster_makes_more_connections(stage: Stage) -> None:
    limit = {"http2_protocol_options": {"max_concurrent_streams": 2}}
    backend = _start(stage, stage.h2_backend(), **http_options(explicit_http_config=limit))
    assert _burst(stage, backend, 10, one_by_one=False) == [200] * 10
    assert [connection.streams_at_once for connection in backend.connections] == [2] * 5


def test_a_burst_on_a_connection_with_an_unknown_limit(stage: Stage) -> None:
    """More requests at once than the first connection will take, before its SETTINGS have come."""
    backend = _start(stage, stage.h2_backend(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}))
    statuses = _burst(stage, backend, 10, one_by_one=False)
    if stage.is_envoy:
        assert 503 in statuses and backend.refused, H2_UPSTREAM["first burst"]
    else:
        assert statuses == [200] * 10
    assert max(connection.streams_at_once for connection in backend.connections) == 2


def test_max_requests_per_connection(stage: Stage) -> None:
    options = http_options(
        common_http_protocol_options={"max_requests_per_connection": 3}, explicit_http_config=H2
    )
    backend = _start(stage, stage.h2_backend(), **options)
    with H2Client(stage.address) as client:
        assert [client.request("GET", "/").status for _ in range(7)] == [200] * 7
    assert [(request.connection, request.stream) for request in backend.requests] == [
        *((1, stream) for stream in (1, 3, 5)),
        *((2, stream) for stream in (1, 3, 5)),
        (3, 1),
    ]
    backend.wait(lambda: len(backend.open_connections()) == 1, "the used connections closed")
    assert stage.proxy.stat("cluster.app.upstream_cx_max_requests") == 2


def test_max_requests_per_connection_of_concurrent_requests(stage: Stage) -> None:
    options = http_options(
        common_http_protocol_options={"max_requests_per_connection": 3}, explicit_http_config=H2
    )
    backend = _start(stage, stage.h2_backend(), **options)
    assert _burst(stage, backend, 8, one_by_one=True) == [200] * 8
    assert [len(connection.requests) for connection in backend.connections] == [3, 3, 2]


# GOAWAY


def test_goaway_behind_all_streams_lets_them_finish(stage: Stage) -> None:
    gate = Gate()
    backend = _start(stage, stage.h2_backend(lambda r: [Wait(gate), *ok()] if r.connection == 1 else ok()))
    with H2Client(stage.address) as client:
        streams = [client.begin("GET", "/old", end=True) for _ in range(4)]
        backend.wait_requests(4)
        backend.connections[0].goaway()
        stage.settled(cluster__app__upstream_cx_close_notify=1)
        assert client.request("GET", "/new").status == 200
        gate.open()
        assert [client.wait(stream).status for stream in streams] == [200] * 4
    assert [request.connection for request in backend.requests] == [1, 1, 1, 1, 2]
    backend.wait(lambda: not backend.connections[0].open, "the old connection closed")
    assert backend.connections[1].open


@pytest.mark.parametrize("policy", ["no retries", "retries"])
@pytest.mark.parametrize("body", [None, b"some body"], ids=["GET", "POST"])
@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.INTERNAL_ERROR], ids=lambda code: code.name)
def test_goaway_before_some_streams_loses_none(
    stage: Stage, policy: str, body: bytes | None, code: ErrorCodes
) -> None:
    gate = Gate()
    backend = stage.h2_backend(lambda r: [Wait(gate), *ok()] if r.connection == 1 else ok())
    _start(stage, backend, retry=_RETRY_REFUSED if policy == "retries" else None)
    with H2Client(stage.address) as client:
        streams = []
        for number in range(6):
            stream = client.begin("POST" if body else "GET", f"/{number}", end=body is None)
            if body:
                client.send(stream, body, end=True)
            streams.append(stream)
        backend.wait(lambda: sum(r.complete for r in backend.requests) == 6, "six requests")
        backend.connections[0].goaway(last=5, code=code)
        stage.settled(cluster__app__upstream_cx_close_notify=1)
        later = [client.wait(stream).status for stream in streams[3:]]
        gate.open()
        assert [client.wait(stream).status for stream in streams[:3]] == [200] * 3
    if stage.is_envoy and policy == "no retries":
        assert later == [503] * 3, H2_UPSTREAM["goaway"]
        return
    assert later == [200] * 3
    again = [request for request in backend.requests if request.connection == 2]
    assert sorted(request.path for request in again) == ["/3", "/4", "/5"]
    assert all(request.complete and request.body == (body or b"") for request in again)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_goaway_inside_the_body_of_a_request(stage: Stage, protocol: str) -> None:
    """What was already sent is sent again, what comes later follows."""
    backend = stage.h2_backend(lambda r: [Wait(Gate())] if r.connection == 1 else ok())
    _start(stage, backend, retry=_RETRY_REFUSED)
    with H2Client(stage.address) as other, any_client(protocol, stage.address) as client:
        other.begin("GET", "/other", end=True)
        backend.wait_requests(1)
        client.send_head("POST", "/up", end=False)
        client.send_data(b"one ")
        backend.wait(lambda: len(backend.requests) == 2 and backend.requests[1].body == b"one ", "the body")
        backend.connections[0].goaway(last=1)
        backend.wait(lambda: len(backend.requests) == 3, "the request sent again")
        client.send_data(b"two", end=True)
        assert client.wait().status == 200
    assert (backend.requests[2].path, backend.requests[2].body) == ("/up", b"one two")


def test_goaway_and_fin_at_once(stage: Stage) -> None:
    """The streams up to the last are lost, those behind it are not."""
    backend = stage.h2_backend(lambda r: [Wait(Gate())] if r.connection == 1 else ok())
    _start(stage, backend, retry=_RETRY_REFUSED)
    with H2Client(stage.address) as client:
        streams = [client.begin("GET", "/", [("x-log", str(number))], end=True) for number in range(4)]
        backend.wait_requests(4)

        def leave() -> None:
            backend.connections[0].send_goaway(3, ErrorCodes.NO_ERROR)
            transport = backend.connections[0].transport
            assert transport is not None
            transport.close()

        backend.call(leave)
        assert [client.wait(stream).status for stream in streams] == [503, 503, 200, 200]
    assert [stage.log.entry(str(number)).flags for number in range(4)] == ["UC", "UC", "-", "-"]


# RST_STREAM by the upstream


def _reset_script(where: str, code: int, gate: Gate) -> H2Script:
    if where == "before the head":
        return [Wait(gate), Rst(code)]
    if where == "behind the head":
        return [Head(200, [("x-backend", "1")]), Wait(gate), Rst(code)]
    return [Head(200, [("content-length", "100")]), Data(b"part"), Wait(gate), Rst(code)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "code",
    [
        ErrorCodes.NO_ERROR,
        ErrorCodes.PROTOCOL_ERROR,
        ErrorCodes.INTERNAL_ERROR,
        ErrorCodes.REFUSED_STREAM,
        ErrorCodes.CANCEL,
        ErrorCodes.CONNECT_ERROR,
        ErrorCodes.ENHANCE_YOUR_CALM,
    ],
    ids=lambda code: code.name,
)
@pytest.mark.parametrize("where", ["before the head", "behind the head", "in the body"])
def test_streams_reset_by_the_upstream(
    plain: tuple[Stage, H2Backend], protocol: str, code: ErrorCodes, where: str
) -> None:
    stage, backend = plain
    gate = Gate()
    backend.clear()
    backend.answer = lambda _: _reset_script(where, code, gate)
    key = f"{protocol} {code.name} {where}"
    flag = "UPE" if code == ErrorCodes.PROTOCOL_ERROR else "UR"
    reason = _REASONS.get(code, "remote reset")
    with any_client(protocol, stage.address) as client:
        client.send_head("GET", "/", [("x-log", key)])
        backend.wait_requests(1)
        if where == "behind the head":
            client.wait_head()
        elif where == "in the body":
            client.wait_body(4)
        gate.open()
        seen = client.wait()
    entry = stage.log.entry(key)
    if where == "before the head":
        status = 502 if code == ErrorCodes.PROTOCOL_ERROR else 503
        assert (seen.status, seen.end) == (status, "complete")
        assert seen.body == _ERROR_BODY + reason.encode()
        phase = _BEFORE_HEAD
    else:
        status = 200
        assert (seen.status, seen.body_length) == (200, 4 if where == "in the body" else 0)
        assert seen.end == ("closed" if protocol == "HTTP/1.1" else "INTERNAL_ERROR")
        phase = _AFTER_HEAD
    assert (entry.status, entry.flags) == (str(status), flag)
    assert entry.details == f"{phase}{{{reason.replace(' ', '_')}}}"


@pytest.mark.parametrize("times", [2, 10])
def test_refused_streams_are_sent_again_by_policy(stage: Stage, times: int) -> None:
    refused: list[H2Request] = []

    def answer(request: H2Request) -> H2Script:
        if len(refused) == times:
            return ok()
        refused.append(request)
        return [BodyEnd(), Rst(ErrorCodes.REFUSED_STREAM)]

    backend = _start(stage, stage.h2_backend(answer), retry=_RETRY_REFUSED)
    with any_client("HTTP/2", stage.address) as client:
        seen = client.request("POST", "/", [("x-log", "a")], b"body")
    entry = stage.log.entry("a")
    assert {request.body for request in backend.requests} == {b"body"}
    tries = min(times + 1, 4)
    more = 0 if stage.is_envoy else 1  # what was refused may be sent once more before the policy counts
    assert tries <= len(backend.requests) <= tries + more
    if times == 2:
        assert (seen.status, entry.flags) == (200, "-")
    else:
        assert (seen.status, entry.flags) == (503, "URX,UR")


# The downstream gives up


@pytest.mark.parametrize("code", [ErrorCodes.CANCEL, ErrorCodes.NO_ERROR, ErrorCodes.REFUSED_STREAM])
def test_streams_reset_by_the_client(plain: tuple[Stage, H2Backend], code: ErrorCodes) -> None:
    stage, backend = plain
    backend.clear()
    backend.answer = lambda _: [Wait(Gate())]
    key = f"client resets {code.name}"
    with H2Client(stage.address) as client:
        stream = client.begin("POST", "/", [("x-log", key)])
        (request,) = backend.wait_requests(1)
        client.reset(stream, code)
        backend.wait(lambda: request.reset is not None, "the reset passed on")
        client.ping()
        assert not client.goaways
    assert request.reset in _GIVEN_UP
    entry = stage.log.entry(key)
    refused = code == ErrorCodes.REFUSED_STREAM
    assert (entry.status, entry.flags) == ("0", "DR")
    assert entry.details == ("http2.remote_refuse" if refused else "http2.remote_reset")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("where", ["before the head", "in the body"])
def test_clients_that_go_away(plain: tuple[Stage, H2Backend], protocol: str, where: str) -> None:
    stage, backend = plain
    backend.clear()
    before = where == "before the head"
    backend.answer = lambda _: [Wait(Gate())] if before else [Head(), Data(b"abc"), Wait(Gate())]
    key = f"{protocol} gone {where}"
    with any_client(protocol, stage.address) as client:
        client.send_head("POST", "/", [("x-log", key)], end=False, length=10)
        client.send_data(b"abc")
        (request,) = backend.wait_requests(1)
        if not before:
            client.wait_body(3)
        backend.wait(lambda: request.body == b"abc", "the body")
    backend.wait(lambda: request.reset is not None, "the reset passed on")
    assert request.reset in _GIVEN_UP
    entry = stage.log.entry(key)
    assert (entry.status, entry.flags) == ("0" if before else "200", "DC")
    assert entry.details == "downstream_remote_disconnect"


# Windows


@pytest.mark.parametrize("windows", ["small", "usual"])
def test_a_slow_reader_stops_only_its_own_stream(stage: Stage, windows: str) -> None:
    """Both streams share a connection on either side."""
    options: dict[str, Any] = {"http2_protocol_options": _WINDOWS if windows == "small" else {}}
    backend = _start(stage, stage.h2_backend(), **options)
    if stage.is_envoy and windows == "usual":
        pytest.skip(H2_UPSTREAM["starved window"])
    with H2Client(stage.address, connection_window=16 * MIB) as client:
        held = client.begin("GET", f"/bytes/{LARGE_BYTES}", end=True)
        client.hold(held)
        client.wait_until(lambda: client.answers[held].body_length == 65535, "a full window")
        for _ in range(30):
            assert client.request("GET", "/bytes/300000").body_length == 300_000
        assert client.answers[held].body_length == 65535
        client.reset(held)
    assert len(backend.connections) == 1


def test_a_slow_upstream_stops_only_its_own_stream(stage: Stage) -> None:
    """A request whose body the upstream does not read, beside others."""
    backend = _start(stage, stage.h2_backend())
    backend.connection_window = 16 * MIB
    backend.acknowledge = False
    with H2Client(stage.address, timeout_s=20) as client:
        slow = client.begin("POST", "/slow")
        client.send(slow, bytes(65535))
        (request,) = backend.wait_requests(1)
        backend.wait(lambda: request.body_length == 65535, "a full window")
        for _ in range(30):
            assert client.request("POST", "/quick", body=bytes(60_000)).status == 200
        assert request.body_length == 65535
        client.reset(slow)
    assert len(backend.connections) == 1


def _download(client: H2Client, size: int) -> None:
    answer = client.request("GET", f"/bytes/{size}", check=True, timeout_s=120)
    assert answer.check is not None and answer.check.is_exactly(size)


def _upload(client: H2Client, size: int) -> None:
    stream = client.begin("POST", "/upload")
    for offset in range(0, size, PERIOD):
        client.send(stream, piece(offset, PERIOD))
    client.end(stream)
    assert client.wait(stream, 120).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["download", "upload"])
def test_large_bodies_do_not_grow_memory(stage: Stage, direction: str) -> None:
    backend = stage.h2_backend()
    manager: dict[str, Any] = {"http2_protocol_options": _WINDOWS}
    stage.start(
        [stage.http_listener(route_to("app", timeout="0s"), **manager)],
        [cluster("app", backend.address, **manager)],
    )
    transfer = _download if direction == "download" else _upload
    with H2Client(
        stage.address,
        settings={SettingCodes.INITIAL_WINDOW_SIZE: MIB},
        connection_window=4 * MIB,
        timeout_s=120,
    ) as client:
        transfer(client, 8 * MIB)
        before = stage.proxy.rss_bytes()
        stage.proxy.reset_peak_rss()
        transfer(client, LARGE_BYTES)
        assert stage.proxy.peak_rss_bytes() - before < MAX_GROWTH_BYTES
    if direction == "upload":
        check = backend.requests[-1].check
        assert check is not None and check.is_exactly(LARGE_BYTES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_upstream_with_tiny_windows(stage: Stage, protocol: str) -> None:
    backend = stage.h2_backend(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    _start(stage, backend)
    body = bytes(piece(0, 200_000))
    with any_client(protocol, stage.address) as client:
        assert client.request("POST", "/upload", body=body).status == 200
    check = backend.requests[0].check
    assert check is not None and check.is_exactly(len(body))


def test_a_body_is_not_broken_into_crumbs(stage: Stage) -> None:
    """An upstream that gives back every DATA on its own, also small ones, does not get smaller and smaller ones."""
    backend = _start(stage, stage.h2_backend())
    backend.credit_per_frame = True
    with H2Client(stage.address, timeout_s=60) as client:
        _upload(client, 16 * MIB)
    (request,) = backend.requests
    assert request.check is not None and request.check.is_exactly(16 * MIB)
    assert request.data_frames < 4 * (16 * MIB >> 14)


# Connections that end


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("where", ["before the head", "in the body"])
def test_connections_that_end_with_streams_open(
    plain: tuple[Stage, H2Backend], protocol: str, how: str, where: str
) -> None:
    """A POST, so that nobody may send it again."""
    stage, backend = plain
    backend.clear()
    before = where == "before the head"
    backend.answer = lambda _: [Wait(Gate())] if before else [Head(), Data(b"part"), Wait(Gate())]
    key = f"{protocol} {how} {where}"
    with any_client(protocol, stage.address) as client:
        client.send_head("POST", "/", [("x-log", key)])
        backend.wait_requests(1)
        if not before:
            client.wait_body(4)
        connection = backend.open_connections()[-1]
        if how == "FIN":
            connection.close()
        else:
            connection.abort()
        seen = client.wait()
        entry = stage.log.entry(key)
        assert entry.flags == "UC"
        if before:
            assert (seen.status, seen.end) == (503, "complete")
            assert seen.body == _ERROR_BODY + b"connection termination"
            assert entry.details == _BEFORE_HEAD + "{connection_termination}"
        else:
            assert (seen.status, seen.body_length) == (200, 4)
            assert seen.end == ("closed" if protocol == "HTTP/1.1" else "INTERNAL_ERROR")
            assert entry.details == _AFTER_HEAD + "{connection_termination}"
    backend.answer = default_answer
    with any_client(protocol, stage.address) as client:
        assert client.request("GET", "/").status == 200


# Early answers


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("behind", ["nothing", "NO_ERROR", "CANCEL"])
def test_an_answer_before_the_end_of_the_request(
    plain: tuple[Stage, H2Backend], protocol: str, behind: str
) -> None:
    """The client gets the answer; its connection goes on in HTTP/2 and is closed in HTTP/1.1."""
    stage, backend = plain
    backend.clear()
    resets = [] if behind == "nothing" else [Rst(ErrorCodes[behind])]
    backend.answer = lambda _: [Head(413, [("content-length", "3")]), Data(b"big", end=True), *resets]
    key = f"early {protocol} {behind}"
    with any_client(protocol, stage.address) as client:
        client.send_head("POST", "/", [("x-log", key)], end=False, length=1000)
        client.send_data(b"begin")
        seen = client.wait()
        assert (seen.status, seen.body, seen.end) == (413, b"big", "complete")
        assert seen.values("connection") == (["close"] if protocol == "HTTP/1.1" else [])
        (request,) = backend.requests
        if behind == "nothing":
            backend.wait(lambda: request.reset is not None, "the upstream stream reset")
        entry = stage.log.entry(key)
        assert (entry.status, entry.flags, entry.details) == ("413", "-", "via_upstream")
        if protocol == "HTTP/2":
            backend.answer = default_answer
            assert client.request("GET", "/").status == 200


def test_the_stream_of_an_early_answer_is_reset_on_both_sides(stage: Stage) -> None:
    backend = _start(stage, stage.h2_backend(lambda _: [Head(413, end=True)]))
    with H2Client(stage.address) as client:
        stream = client.begin("POST", "/")
        answer = client.wait(stream)
        client.wait_until(lambda: answer.reset is not None, "RST_STREAM")
        assert (answer.status, answer.ended, answer.reset) == (413, True, ErrorCodes.NO_ERROR)
    (request,) = backend.requests
    backend.wait(lambda: request.reset is not None, "the upstream stream reset")
    assert request.reset in (*_GIVEN_UP, ErrorCodes.NO_ERROR)


# PING


def _keepalive() -> Json:
    keepalive = {"interval": f"{KEEPALIVE_S}s", "timeout": f"{PONG_TIMEOUT_S}s"}
    return http_options(explicit_http_config={"http2_protocol_options": {"connection_keepalive": keepalive}})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_upstream_that_answers_no_ping(stage: Stage, protocol: str) -> None:
    backend = _start(stage, stage.h2_backend(lambda _: [Wait(Gate())]), **_keepalive())
    with any_client(protocol, stage.address) as client:
        client.send_head("GET", "/", [("x-log", "a")])
        backend.wait_requests(1)
        (connection,) = backend.connections
        backend.wait(lambda: connection.pings >= 2, "pings")
        assert connection.open
        backend.answer_pings = False
        seen = client.wait(5)
        assert (seen.status, seen.body) == (503, _ERROR_BODY + b"connection termination")
        entry = stage.log.entry("a")
        assert (entry.status, entry.flags) == ("503", "UC")
        assert entry.details == _BEFORE_HEAD + "{connection_termination}"
        assert stage.proxy.stat("cluster.app.http2.keepalive_timeout") == 1
        backend.wait(lambda: not connection.open, "the connection closed")
        backend.answer_pings, backend.answer = True, default_answer
        assert client.request("GET", "/").status == 200
    assert len(backend.connections) == 2


def test_an_idle_upstream_that_answers_no_ping(stage: Stage) -> None:
    backend = _start(stage, stage.h2_backend(), **_keepalive())
    with any_client("HTTP/1.1", stage.address) as client:
        assert client.request("GET", "/").status == 200
        backend.answer_pings = False
        backend.wait(lambda: not backend.connections[0].open, "the connection closed")
        backend.answer_pings = True
        assert client.request("GET", "/").status == 200
    assert len(backend.connections) == 2
