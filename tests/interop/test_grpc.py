"""gRPC calls of every kind through one sidecar and through two, this proxy's and the real Envoy's."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.interop.grpc_pair import GrpcMesh
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import (
    CALL_LIMIT_S,
    ECHO,
    HEALTH,
    EchoRequest,
    EchoResponse,
    GrpcServer,
    serialize,
)
from tests.support.grpc_wire import GrpcWire, frame
from tests.support.pattern import PatternChecker, piece

CONCURRENT = 200
LARGE_BYTES = 4 << 20
HOUR_S = 3600.0


def _large() -> bytes:
    return b"".join(bytes(piece(offset, 1 << 20)) for offset in range(0, LARGE_BYTES, 1 << 20))


# Kinds of calls


@pytest.mark.parametrize("message", [b"", b"x", b"\x00\xff" * 5000], ids=["empty", "one byte", "10 kB"])
def test_unary(grpc_client: GrpcClient, message: bytes) -> None:
    assert grpc_client.ask(message) == message


def test_client_streaming(grpc_client: GrpcClient) -> None:
    messages = [b"a", b"", b"ccc"]
    assert grpc_client.upload("Upload")(iter(messages), timeout=CALL_LIMIT_S) == b"3 4"


def test_client_streaming_of_nothing(grpc_client: GrpcClient) -> None:
    assert grpc_client.upload("Upload")(iter(()), timeout=CALL_LIMIT_S) == b"0 0"


def test_server_streaming(grpc_client: GrpcClient) -> None:
    answers = list(grpc_client.download("Download")(b"50 100", timeout=CALL_LIMIT_S))
    assert answers == [bytes(piece(number * 100, 100)) for number in range(50)]


def test_server_streaming_of_nothing(grpc_client: GrpcClient) -> None:
    assert list(grpc_client.download("Download")(b"0 1", timeout=CALL_LIMIT_S)) == []


def test_bidirectional_by_turns(grpc_client: GrpcClient) -> None:
    """No message is kept back until there are more."""
    with grpc_client.chat("Chat") as chat:
        for number in range(50):
            assert chat.ask(b"%d" % number) == b"re: %d" % number
        chat.half_close()
        assert list(chat.call) == []
        assert chat.call.code() is grpc.StatusCode.OK


def test_bidirectional_all_at_once(grpc_client: GrpcClient) -> None:
    with grpc_client.chat("Chat") as chat:
        for number in range(500):
            chat.send(b"%d" % number)
        chat.half_close()
        assert list(chat.call) == [b"re: %d" % number for number in range(500)]


def test_server_may_end_first(grpc_client: GrpcClient) -> None:
    """The status arrives although the client has not ended, and goes on sending."""
    with grpc_client.chat("Refuse") as chat:
        chat.send(b"x")
        with pytest.raises(grpc.RpcError):
            chat.receive()
        assert (chat.call.code(), chat.call.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")


def test_many_calls_in_flight_on_one_connection(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    """All have arrived before the first is answered; they are answered in the opposite order."""
    hold = grpc_client.unary("Hold")
    futures = [hold.future(b"%d" % number, timeout=CALL_LIMIT_S) for number in range(CONCURRENT)]
    calls = [grpc_server.next_call("Hold") for _ in futures]
    for call in reversed(calls):
        call.push(b"re: " + call.messages[0])
    assert [future.result() for future in futures] == [b"re: %d" % number for number in range(CONCURRENT)]


def test_stream_goes_on_beside_other_calls(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    """Each event is there before the next one happens, however many calls come and go in between."""
    events = grpc_client.download("Subscribe")(b"all", timeout=CALL_LIMIT_S)
    subscription = grpc_server.next_call("Subscribe")
    for number in range(20):
        subscription.push(b"event %d" % number)
        assert next(events) == b"event %d" % number
        assert grpc_client.ask(b"%d" % number) == b"%d" % number
    subscription.finish()
    assert list(events) == []


# Large messages


def test_large_message_both_ways(grpc_client: GrpcClient) -> None:
    message = _large()
    assert grpc_client.ask(message) == message


def test_large_messages_in_a_stream(grpc_client: GrpcClient) -> None:
    with grpc_client.chat("Chat") as chat:
        message = _large()
        for _ in range(3):
            assert chat.ask(message) == b"re: " + message


def test_large_download(grpc_client: GrpcClient) -> None:
    check = PatternChecker()
    for part in grpc_client.download("Download")(b"16 1048576", timeout=CALL_LIMIT_S):
        check.feed(part)
    assert check.is_exactly(16 << 20)


def test_large_upload(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    parts = (bytes(piece(number << 20, 1 << 20)) for number in range(16))
    assert grpc_client.upload("Upload")(parts, timeout=CALL_LIMIT_S) == b"16 %d" % (16 << 20)
    check = PatternChecker()
    for part in grpc_server.next_call("Upload").messages:
        check.feed(part)
    assert check.is_exactly(16 << 20)


# Metadata


def test_metadata_both_ways(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    binary = bytes(range(256))
    sent = (
        ("x-test-text", 'a value, with; signs="~'),
        ("x-test-bin", binary),
        ("x-test-many", "one"),
        ("x-test-many", "two"),
        ("x-test-many-bin", b"\x00"),
        ("x-test-many-bin", b""),
        ("x-test-many-bin", b"\xff,"),
    )
    answer, call = grpc_client.unary("Metadata").with_call(b"m", metadata=sent, timeout=CALL_LIMIT_S)
    assert answer == b"m"
    seen = grpc_server.next_call("Metadata")
    for name in dict(sent):
        values = [value for key, value in sent if key == name]
        assert _values(seen.metadata, name) == values
        assert _values(call.initial_metadata(), f"first-{name}") == values
        assert _values(call.trailing_metadata(), f"last-{name}") == values


def _values(metadata: Any, name: str) -> list[str | bytes]:
    return [value for key, value in metadata if key == name]


def test_metadata_is_there_before_the_first_message(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    events = grpc_client.download("Subscribe")(b"all", timeout=CALL_LIMIT_S)
    assert _values(events.initial_metadata(), "x-test-subscribed") == ["yes"]
    grpc_server.next_call("Subscribe").finish()
    assert list(events) == []


@pytest.mark.parametrize("timeout_s", [20.0, 2 * HOUR_S])
def test_deadline_reaches_the_server(
    grpc_client: GrpcClient, grpc_server: GrpcServer, timeout_s: float
) -> None:
    """Clients round it, up to a hundredth."""
    grpc_client.unary("Unary")(b"x", timeout=timeout_s)
    assert grpc_server.next_call("Unary").time_remaining_s == pytest.approx(timeout_s, rel=0.1)


def test_no_deadline_stays_none(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    grpc_client.unary("Unary")(b"x")
    assert grpc_server.next_call("Unary").time_remaining_s > 1000 * HOUR_S


# On the wire


def test_shape_of_an_answer(grpc_mesh: GrpcMesh) -> None:
    """Head, message, trailers with the status; the kind of the messages may be told in the content type."""
    with GrpcWire(grpc_mesh.address) as wire:
        for content_type in ("application/grpc", "application/grpc+proto"):
            answer = wire.call("/test.Calls/Unary", b"abc", content_type=content_type)
            assert dict(answer.head)[":status"] == "200"
            assert answer.data == frame(b"abc")
            assert not answer.trailers_only and answer.reset is None
            assert dict(answer.trailers or [])["grpc-status"] == "0"


def test_compressed_messages_stay_compressed(grpc_mesh: GrpcMesh, grpc_client: GrpcClient) -> None:
    message = b"much the same " * 10_000
    with GrpcClient(grpc_mesh.address, grpc.Compression.Gzip) as client:
        assert client.ask(message, "Gzip") == message
        with client.chat("Chat") as chat:
            assert chat.ask(message) == b"re: " + message
    with GrpcWire(grpc_mesh.address) as wire:
        answer = wire.call("/test.Calls/Gzip", message[:5000], [("grpc-accept-encoding", "identity,gzip")])
        assert dict(answer.head)["grpc-encoding"] == "gzip"
        assert answer.data[0] == 1
        assert len(answer.data) < 500
        again = wire.call("/test.Calls/Unary", answer.data[5:], [("grpc-encoding", "gzip")], compressed=True)
        assert again.value("grpc-status") == "0"
        assert again.data == frame(message[:5000])


# Services that clients of gRPC know


def test_generated_messages(grpc_client: GrpcClient) -> None:
    echo = grpc_client.channel.unary_unary(f"/{ECHO}/Echo", serialize, EchoResponse.FromString)
    assert echo(EchoRequest(), timeout=CALL_LIMIT_S) == EchoResponse()


def test_health_check_and_watch(grpc_client: GrpcClient, grpc_server: GrpcServer) -> None:
    """The watch tells each change when it happens."""
    serving, not_serving = (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
    asked = health_pb2.HealthCheckRequest(service=ECHO)
    grpc_server.health.set(ECHO, serving)
    stub = grpc_client.health()
    watch = stub.Watch(asked, timeout=CALL_LIMIT_S)
    assert next(watch).status == serving
    for status in (not_serving, serving, not_serving):
        grpc_server.health.set(ECHO, status)
        assert next(watch).status == status
        assert stub.Check(asked, timeout=CALL_LIMIT_S).status == status
    watch.cancel()
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=CALL_LIMIT_S)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection(grpc_client: GrpcClient) -> None:
    """A client that knows no message learns them all from the server."""
    database = ProtoReflectionDescriptorDatabase(grpc_client.channel)
    assert {ECHO, HEALTH} <= set(database.get_services())
    service = descriptor_pool.DescriptorPool(database).FindServiceByName(ECHO)
    assert [method.name for method in service.methods] == ["Echo", "EchoStream"]
    assert service.FindMethodByName("EchoStream").input_type.fields[0].name == "response_count"
