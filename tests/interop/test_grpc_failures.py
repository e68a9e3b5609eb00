"""gRPC calls that fail, are given up, or find no server: what client, server and access log are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf import any_pb2, wrappers_pb2
from google.rpc import status_pb2

from tests.interop.grpc_pair import (
    DEADLINE,
    NO_CLUSTER,
    NO_ROUTE,
    ROUTE_TIMEOUT_S,
    TIMEOUT,
    UNREACHABLE,
    UNREACHABLE_NEAR,
    GrpcMesh,
)
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import CALL_LIMIT_S, GrpcServer, SeenCall
from tests.support.grpc_wire import GrpcWire, WireAnswer, frame
from tests.support.process import Proxy, wait_until

NOTICED_S = 10.0
"""Until the other side has noticed; generous, nothing waits this long when all is well."""
SHORT_S = 0.2
STREAM_S = 1.5
"""Enough for one message, also on a busy machine."""

_CONNECT_ERROR = "upstream connect error or disconnect/reset before headers. reset reason: "
_TIMED_OUT = "upstream request timeout"


# Errors of the server


def test_error_with_text_and_details(grpc_client: GrpcClient) -> None:
    """Details are a google.rpc.Status in the trailers; the text may have any characters."""
    status = status_pb2.Status(code=5, message="Größe: 100 % ничего\n日本")
    detail = any_pb2.Any()
    detail.Pack(wrappers_pb2.StringValue(value="more"))
    status.details.append(detail)
    with pytest.raises(grpc.RpcError) as raised:
        grpc_client.ask(status.SerializeToString(), "Fail")
    error = raised.value
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == status.message
    trailing = dict(error.trailing_metadata())
    assert status_pb2.Status.FromString(trailing["grpc-status-details-bin"]) == status


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_code(grpc_client: GrpcClient, code: grpc.StatusCode) -> None:
    status = status_pb2.Status(code=code.value[0], message=code.name)
    assert grpc_client.failure("Fail", status.SerializeToString()) == (code, code.name)


def test_error_after_answers(grpc_client: GrpcClient) -> None:
    status = status_pb2.Status(code=10, message="too late")
    answers = grpc_client.download("FailLate")(status.SerializeToString(), timeout=CALL_LIMIT_S)
    assert [next(answers), next(answers)] == [b"first", b"second"]
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert (answers.code(), answers.details()) == (grpc.StatusCode.ABORTED, "too late")


def test_error_without_answer_is_one_head(grpc_mesh: GrpcMesh) -> None:
    """The server sends no trailers apart, and nobody on the way makes some."""
    status = status_pb2.Status(code=5, message="a b%c")
    with GrpcWire(grpc_mesh.address) as wire:
        answer = wire.call("/test.Calls/Fail", status.SerializeToString())
    assert answer.trailers_only
    assert (answer.value(":status"), answer.value("grpc-status")) == ("200", "5")
    assert answer.value("grpc-message") == "a b%25c"


def test_end_before_that_of_the_request_stops_the_client(grpc_mesh: GrpcMesh) -> None:
    """The status arrives whole; then the client is told, by RST_STREAM without an error, to send no more."""
    with GrpcWire(grpc_mesh.address) as wire:
        stream = wire.begin("/test.Calls/Refuse")
        answer = wire.wait(stream)
        assert answer.trailers_only
        assert (answer.value("grpc-status"), answer.value("grpc-message")) == ("9", "not now")
        assert wire.wait_reset(stream).reset == 0


def test_unknown_method_of_the_server(grpc_client: GrpcClient) -> None:
    assert grpc_client.failure("Nothing") == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


# Deadlines


def test_deadline_of_a_unary_call(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        grpc_client.unary("Hold")(b"x", timeout=SHORT_S)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert grpc_server.next_call("Hold").cancelled.wait(NOTICED_S)


def test_deadline_of_a_stream(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    """What was sent before it has arrived."""
    events = grpc_client.download("Subscribe")(b"x", timeout=STREAM_S)
    subscription = grpc_server.next_call("Subscribe")
    subscription.push(b"in time")
    assert next(events) == b"in time"
    with pytest.raises(grpc.RpcError):
        next(events)
    assert events.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert subscription.cancelled.wait(NOTICED_S)


def test_calls_in_time_are_not_disturbed_by_one_that_is_late(
    grpc_client: GrpcClient, grpc_server: GrpcServer
) -> None:
    with grpc_client.chat("Chat") as chat:
        assert chat.ask(b"1") == b"re: 1"
        with pytest.raises(grpc.RpcError):
            grpc_client.unary("Hold")(b"x", timeout=SHORT_S)
        assert grpc_server.next_call("Hold").cancelled.wait(NOTICED_S)
        assert chat.ask(b"2") == b"re: 2"


# Cancellation by the client


def test_cancelled_unary_call(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    future = grpc_client.unary("Hold").future(b"x")
    call = grpc_server.next_call("Hold")
    assert not call.cancelled.is_set()
    future.cancel()
    assert call.cancelled.wait(NOTICED_S)
    assert future.code() is grpc.StatusCode.CANCELLED


def test_cancelled_download(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    events = grpc_client.download("Subscribe")(b"x")
    call = grpc_server.next_call("Subscribe")
    call.push(b"first")
    assert next(events) == b"first"
    events.cancel()
    assert call.cancelled.wait(NOTICED_S)


def test_cancelled_conversation(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    with grpc_client.chat("Chat") as chat:
        assert chat.ask(b"1") == b"re: 1"
        call = grpc_server.next_call("Chat")
        chat.cancel()
        assert call.cancelled.wait(NOTICED_S)
        assert call.messages == [b"1"]


def test_end_of_the_client_cancels_all_its_calls(grpc_mesh: GrpcMesh, grpc_server: GrpcServer) -> None:
    """The connection is cut without a word."""
    grpc_server.forget_calls()
    with GrpcWire(grpc_mesh.address) as wire:
        for _ in range(5):
            wire.send(wire.begin("/test.Calls/Hold"), frame(b"x"), end=True)
        calls = [grpc_server.next_call("Hold") for _ in range(5)]
    for call in calls:
        assert call.cancelled.wait(NOTICED_S)


def test_cancelling_one_leaves_the_others(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    hold = grpc_client.unary("Hold")
    futures = [hold.future(b"%d" % number, timeout=CALL_LIMIT_S) for number in range(20)]
    calls = {call.messages[0]: call for call in (grpc_server.next_call("Hold") for _ in futures)}
    for number in range(0, 20, 2):
        futures[number].cancel()
        assert calls[b"%d" % number].cancelled.wait(NOTICED_S)
    for number in range(1, 20, 2):
        calls[b"%d" % number].push(b"kept")
        assert futures[number].result() == b"kept"


# Answers made by a sidecar


@pytest.mark.parametrize(
    ("service", "code", "message"),
    [
        (UNREACHABLE, "14", f"{_CONNECT_ERROR}remote connection failure"),
        (UNREACHABLE_NEAR, "14", f"{_CONNECT_ERROR}remote connection failure"),
        (NO_CLUSTER, "14", None),
        (NO_ROUTE, "12", None),
        (TIMEOUT, "14", _TIMED_OUT),
    ],
)
def test_local_reply_is_one_head(grpc_mesh: GrpcMesh, service: str, code: str, message: str | None) -> None:
    """HTTP status 200, the status of gRPC beside it, the body as its text, and the end of the stream."""
    with GrpcWire(grpc_mesh.address) as wire:
        _check_local_reply(wire.call(f"/{service}/Any"), code, message)


def test_timeout_of_the_route_runs_from_the_end_of_the_request(grpc_mesh: GrpcMesh) -> None:
    """A client that goes on sending is not timed out."""
    with GrpcWire(grpc_mesh.address) as wire:
        stream = wire.begin(f"/{TIMEOUT}/Any")
        for _ in range(4):
            wire.send(stream, frame(b"x"))
            with pytest.raises(TimeoutError):
                wire.wait(stream, ROUTE_TIMEOUT_S / 2)
        wire.send(stream, frame(b"x"), end=True)
        _check_local_reply(wire.wait(stream), "14", _TIMED_OUT)


def test_grpc_timeout_is_kept_by_the_sidecar(grpc_mesh: GrpcMesh) -> None:
    """The client does not look at its own deadline."""
    with GrpcWire(grpc_mesh.address) as wire:
        answer = wire.call(f"/{DEADLINE}/Any", headers=[("grpc-timeout", f"{SHORT_S * 1000:.0f}m")])
    _check_local_reply(answer, "14", _TIMED_OUT)


def _check_local_reply(answer: WireAnswer, code: str, message: str | None) -> None:
    assert answer.trailers_only and answer.trailers is None and answer.data == b""
    assert answer.value(":status") == "200"
    assert answer.value("content-type") == "application/grpc"
    assert answer.value("grpc-status") == code
    told = answer.value("grpc-message")
    assert told is None if message is None else (told or "").startswith(message)


@pytest.mark.parametrize(
    ("service", "code"),
    [
        (UNREACHABLE, grpc.StatusCode.UNAVAILABLE),
        (UNREACHABLE_NEAR, grpc.StatusCode.UNAVAILABLE),
        (NO_CLUSTER, grpc.StatusCode.UNAVAILABLE),
        (NO_ROUTE, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_local_reply_to_every_kind_of_call(
    grpc_client: GrpcClient, service: str, code: grpc.StatusCode
) -> None:
    request = b"x"
    kinds: list[Callable[[], object]] = [
        lambda: grpc_client.ask(request, service=service),
        lambda: grpc_client.upload("Any", service)(iter([request] * 10), timeout=CALL_LIMIT_S),
        lambda: list(grpc_client.download("Any", service)(request, timeout=CALL_LIMIT_S)),
    ]
    for call in kinds:
        with pytest.raises(grpc.RpcError) as raised:
            call()
        assert raised.value.code() is code
    with grpc_client.chat("Any", service) as chat:
        chat.send(request)
        with pytest.raises(grpc.RpcError):
            chat.receive()
        assert chat.call.code() is code
    assert grpc_client.ask() == b"ping"


# The server goes and comes back


@pytest.fixture
def restored(grpc_server: GrpcServer) -> Iterator[GrpcServer]:
    """The server, which a test may stop; afterwards it runs."""
    yield grpc_server
    grpc_server.stop()
    grpc_server.start()


def test_server_that_is_not_running(grpc_client: GrpcClient, restored: GrpcServer) -> None:
    assert grpc_client.ask(b"before") == b"before"
    restored.stop()
    for _ in range(3):
        code, details = grpc_client.failure()
        assert code is grpc.StatusCode.UNAVAILABLE
        assert details.startswith(_CONNECT_ERROR)
    restored.start()
    assert grpc_client.ask(b"after") == b"after"


def test_server_that_leaves_gracefully_ends_its_calls(grpc_client: GrpcClient, restored: GrpcServer) -> None:
    """Calls that run end well, new ones find nobody, and all is well when it is back."""
    for round_ in range(2):
        waiting = grpc_client.unary("Hold").future(b"x", timeout=CALL_LIMIT_S)
        held = restored.next_call("Hold")
        with grpc_client.chat("Chat") as chat:
            assert chat.ask(b"1") == b"re: 1"
            stopped = restored.begin_stop(CALL_LIMIT_S)
            wait_until(
                lambda: _is_unavailable(grpc_client), timeout_s=NOTICED_S, what="new calls are refused"
            )
            assert chat.ask(b"2") == b"re: 2"
            held.push(b"done")
            assert waiting.result() == b"done"
            chat.half_close()
            assert list(chat.call) == []
        assert stopped.wait(NOTICED_S)
        restored.start()
        assert grpc_client.ask(b"%d" % round_) == b"%d" % round_


def _is_unavailable(client: GrpcClient) -> bool:
    code, details = client.failure()
    assert code is grpc.StatusCode.UNAVAILABLE, details
    return details.startswith(_CONNECT_ERROR)


def test_server_that_stops_at_once(grpc_client: GrpcClient, restored: GrpcServer) -> None:
    """No call hangs, and none looks as if it had ended well."""
    events = grpc_client.download("Subscribe")(b"x", timeout=CALL_LIMIT_S)
    restored.next_call("Subscribe").push(b"first")
    assert next(events) == b"first"
    waiting = grpc_client.unary("Hold").future(b"x", timeout=CALL_LIMIT_S)
    restored.next_call("Hold")
    restored.stop()
    with pytest.raises(grpc.RpcError):
        next(events)
    for call in (events, waiting):
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), call.details()


# The access log

_LOG = "x-log"
_TAG = (_LOG, "this-test")


def test_access_log_tells_what_became_of_each_call(grpc_mesh: GrpcMesh, grpc_server: GrpcServer) -> None:
    """Path, HTTP and gRPC status, flags: a call that was given up has no status, or that of an answer cut short."""
    alone = grpc_mesh.client is grpc_mesh.server
    grpc_server.forget_calls()
    with GrpcWire(grpc_mesh.address) as wire:
        for path in ("/test.Calls/Unary", f"/{UNREACHABLE}/1", f"/{UNREACHABLE_NEAR}/1", f"/{NO_CLUSTER}/1"):
            wire.call(path, headers=[_TAG])
        wire.call("/test.Calls/Fail", status_pb2.Status(code=5).SerializeToString(), [_TAG])
        for path in (f"/{NO_ROUTE}/1", f"/{TIMEOUT}/1"):
            wire.call(path, headers=[_TAG])
        for method in ("Hold", "Subscribe"):
            stream, call = _begin(wire, method, grpc_server, _TAG[1])
            wire.reset(stream)
            assert call.cancelled.wait(NOTICED_S)
    expected = [
        "/test.Calls/Unary HTTP/2 200 0 -",
        f"/{UNREACHABLE}/1 HTTP/2 200 14 {'UF' if alone else '-'}",
        f"/{UNREACHABLE_NEAR}/1 HTTP/2 200 14 UF",
        f"/{NO_CLUSTER}/1 HTTP/2 200 14 NC",
        "/test.Calls/Fail HTTP/2 200 5 -",
        f"/{NO_ROUTE}/1 HTTP/2 200 12 NR",
        f"/{TIMEOUT}/1 HTTP/2 200 14 UT",
        "/test.Calls/Hold HTTP/2 0 - DR",
        "/test.Calls/Subscribe HTTP/2 200 2 DR",
    ]
    assert _logged(grpc_mesh, grpc_mesh.client, len(expected)) == expected
    if not alone:
        there = [line for line in expected if not line.startswith("/near.")]
        there[1] = f"/{UNREACHABLE}/1 HTTP/2 200 14 UF"
        assert _logged(grpc_mesh, grpc_mesh.server, len(there)) == there


def test_access_log_of_a_connection_that_is_cut(grpc_mesh: GrpcMesh, grpc_server: GrpcServer) -> None:
    """The first sidecar sees the connection end; it keeps its own, so the second sees a reset."""
    grpc_server.forget_calls()
    calls = []
    for method in ("Hold", "Subscribe"):
        with GrpcWire(grpc_mesh.address) as wire:
            calls.append(_begin(wire, method, grpc_server, "cut")[1])
        assert calls[-1].cancelled.wait(NOTICED_S)
    for proxy, flag in zip(grpc_mesh.proxies, ("DC", "DR"), strict=False):
        assert _logged(grpc_mesh, proxy, 2, "cut") == [
            f"/test.Calls/Hold HTTP/2 0 - {flag}",
            f"/test.Calls/Subscribe HTTP/2 200 2 {flag}",
        ]


def _begin(wire: GrpcWire, method: str, server: GrpcServer, log: str) -> tuple[int, SeenCall]:
    """A call that the server has, and whose head has come if it comes early."""
    stream = wire.begin(f"/test.Calls/{method}", [(_LOG, log)])
    wire.send(stream, frame(b"x"), end=True)
    call = server.next_call(method)
    if method == "Subscribe":
        wire.wait_head(stream)
    return stream, call


def _logged(mesh: GrpcMesh, proxy: Proxy, count: int, log: str = _TAG[1]) -> list[str]:
    def lines() -> list[str] | None:
        found = [
            line.removeprefix(f"{log} ") for line in mesh.access_log(proxy) if line.startswith(f"{log} ")
        ]
        return found if len(found) >= count else None

    return wait_until(lines, timeout_s=NOTICED_S, what=f"{count} lines of the access log")
