"""The gRPC server and its two clients, without a proxy between them."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import pytest

from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.grpc_wire import GrpcWire, frame
from tests.support.ports import free_port

LIMIT_S = 10.0


@pytest.fixture
def server() -> Iterator[GrpcServer]:
    created = GrpcServer("127.0.0.1", free_port()).start()
    yield created
    created.stop()


@pytest.fixture
def client(server: GrpcServer) -> Iterator[GrpcClient]:
    with GrpcClient(server.address) as created:
        yield created


def test_end_of_the_requests_is_no_cancellation(server: GrpcServer, client: GrpcClient) -> None:
    with client.chat("Chat") as chat:
        assert chat.ask(b"1") == b"re: 1"
        chat.half_close()
        assert list(chat.call) == []
    call = server.next_call("Chat")
    assert call.next_answer() is None  # the call is over
    assert not call.cancelled.is_set()


def test_cancellation_is_seen(server: GrpcServer, client: GrpcClient) -> None:
    for _ in range(20):
        with client.chat("Chat") as chat:
            chat.ask(b"1")
            chat.cancel()
            assert server.next_call("Chat").cancelled.wait(LIMIT_S)


def test_early_end_of_the_server_is_no_cancellation(server: GrpcServer, client: GrpcClient) -> None:
    with client.chat("Refuse") as chat, pytest.raises(grpc.RpcError):
        chat.receive()
    call = server.next_call("Refuse")
    assert call.next_answer() is None
    assert not call.cancelled.is_set()


def test_calls_are_remembered_in_order_and_forgotten(server: GrpcServer, client: GrpcClient) -> None:
    for message in (b"1", b"2"):
        client.ask(message)
    assert [server.next_call("Unary").messages for _ in range(2)] == [[b"1"], [b"2"]]
    client.ask(b"3")
    server.forget_calls()
    client.ask(b"4")
    assert server.next_call("Unary").messages == [b"4"]


def test_held_calls_of_another_name_are_passed_over(server: GrpcServer, client: GrpcClient) -> None:
    client.ask(b"1")
    future = client.unary("Hold").future(b"2")
    server.next_call("Hold").push(b"answer")
    assert future.result(LIMIT_S) == b"answer"
    with pytest.raises(queue.Empty):
        server.next_call("Hold", timeout_s=0.01)


def test_server_comes_back_on_its_port(server: GrpcServer, client: GrpcClient) -> None:
    assert client.ask() == b"ping"
    server.stop()
    assert client.failure()[0] is grpc.StatusCode.UNAVAILABLE
    server.start()
    with GrpcClient(server.address) as fresh:
        assert fresh.ask() == b"ping"


def test_wire_tells_heads_from_trailers(server: GrpcServer) -> None:
    with GrpcWire(server.address) as wire:
        good = wire.call("/test.Calls/Unary", b"abc")
        assert (good.data, good.value("grpc-status"), good.trailers_only) == (frame(b"abc"), "0", False)
        bad = wire.call("/test.Calls/Nothing")
        assert (bad.data, bad.value("grpc-status"), bad.trailers_only) == (b"", "12", True)
