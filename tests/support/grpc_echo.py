"""A gRPC server with a method for every kind of call, health and reflection.

The messages of `test.Calls` are bytes as they are. `grpc_echo.Echo` is the service of the conformance scenarios; its
messages are described at run time, so that no generated code is needed and reflection can show them.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tests.support.pattern import piece

CALLS = "test.Calls"
ECHO = "grpc_echo.Echo"
HEALTH = "grpc.health.v1.Health"

CALL_LIMIT_S = 30.0
"""No call of a test goes on longer: what hangs fails."""

SERVER_THREADS = 256
"""Each call that waits needs one."""

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""Channel options: messages of any size."""


# grpc_echo.Echo


def _describe_echo() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc_echo.proto",
        package="grpc_echo",
        syntax="proto3",
        dependency=[status_pb2.DESCRIPTOR.name],
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    file.message_type.add(name="EchoRequest").field.add(
        name="return_status",
        number=1,
        label=kinds.LABEL_OPTIONAL,
        type=kinds.TYPE_MESSAGE,
        type_name=".google.rpc.Status",
    )
    file.message_type.add(name="EchoResponse")
    file.message_type.add(name="StreamRequest").field.add(
        name="response_count", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_UINT32
    )
    file.message_type.add(name="StreamResponse")
    service = file.service.add(name="Echo")
    service.method.add(
        name="Echo", input_type=".grpc_echo.EchoRequest", output_type=".grpc_echo.EchoResponse"
    )
    service.method.add(
        name="EchoStream",
        input_type=".grpc_echo.StreamRequest",
        output_type=".grpc_echo.StreamResponse",
        client_streaming=True,
        server_streaming=True,
    )
    descriptor_pool.Default().Add(file)


def _message_class(name: str) -> type[Any]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


_describe_echo()
EchoRequest = _message_class("grpc_echo.EchoRequest")
EchoResponse = _message_class("grpc_echo.EchoResponse")
StreamRequest = _message_class("grpc_echo.StreamRequest")
StreamResponse = _message_class("grpc_echo.StreamResponse")


def serialize(value: message.Message) -> bytes:
    return value.SerializeToString()


def _echo(request: Any, context: grpc.ServicerContext) -> message.Message:
    if request.return_status.code:
        context.abort(grpc_code(request.return_status.code), request.return_status.message)
    answer: message.Message = EchoResponse()
    return answer


def _echo_stream(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[message.Message]:
    for request in requests:
        for _number in range(request.response_count):
            yield StreamResponse()


_ECHO_METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(_echo, EchoRequest.FromString, serialize),
    "EchoStream": grpc.stream_stream_rpc_method_handler(_echo_stream, StreamRequest.FromString, serialize),
}


# test.Calls


class SeenCall:
    """A call as the server sees it."""

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        self.method = method
        self.metadata: list[tuple[str, str | bytes]] = [
            (item.key, item.value) for item in context.invocation_metadata()
        ]
        self.time_remaining_s: float = context.time_remaining()
        """Until the deadline of the client; very long without one."""
        self.messages: list[bytes] = []
        self.cancelled = threading.Event()
        """The client gave the call up, or its deadline passed, before the status was sent."""
        self._context = context
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        if not context.add_callback(self._terminated):
            self._terminated()

    def _terminated(self) -> None:
        # Not public, but nothing else tells an end of the requests from a cancellation that has just arrived.
        if self._context._state.client == "cancelled":
            self.cancelled.set()
        self._outbox.put(None)

    def values(self, name: str) -> list[str | bytes]:
        """What the client sent under `name`, in order."""
        return [value for key, value in self.metadata if key == name]

    def push(self, answer: bytes) -> None:
        """The next answer of a call that waits for its answers (`Hold`, `Subscribe`)."""
        self._outbox.put(answer)

    def finish(self) -> None:
        """No more answers; `Subscribe` ends."""
        self._outbox.put(None)

    def next_answer(self) -> bytes | None:
        """What was pushed, None at the end."""
        return self._outbox.get()


def _unary(call: SeenCall, request: bytes, _: grpc.ServicerContext) -> bytes:
    """The request is the answer."""
    call.messages.append(request)
    return request


def _upload(call: SeenCall, requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
    """Answers with the number of the messages and of their bytes."""
    call.messages.extend(requests)
    return b"%d %d" % (len(call.messages), sum(map(len, call.messages)))


def _download(call: SeenCall, request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
    """Asked for `COUNT SIZE`, answers with that many pieces of the pattern."""
    call.messages.append(request)
    count, size = map(int, request.split())
    for number in range(count):
        yield bytes(piece(number * size, size))


def _chat(call: SeenCall, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    """Answers each message before it reads the next one."""
    for request in requests:
        call.messages.append(request)
        yield b"re: " + request


def _hold(call: SeenCall, request: bytes, _: grpc.ServicerContext) -> bytes:
    """Waits for the answer that the test pushes."""
    call.messages.append(request)
    return call.next_answer() or b""


def _subscribe(call: SeenCall, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """Sends its metadata at once, then what the test pushes, when it pushes it."""
    call.messages.append(request)
    context.send_initial_metadata((("x-test-subscribed", "yes"),))
    return iter(call.next_answer, None)


def _fail(call: SeenCall, request: bytes, context: grpc.ServicerContext) -> NoReturn:
    """Ends with the google.rpc.Status of the request, which is also sent as the details."""
    call.messages.append(request)
    status = status_pb2.Status.FromString(request)
    context.set_trailing_metadata((("grpc-status-details-bin", request),))
    context.abort(grpc_code(status.code), status.message)
    raise AssertionError("abort raises")


def _fail_late(call: SeenCall, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """As `Fail`, after two answers."""
    yield b"first"
    yield b"second"
    _fail(call, request, context)


def _refuse(call: SeenCall, _: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Ends at once and reads nothing."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
    yield b""


def _metadata(call: SeenCall, request: bytes, context: grpc.ServicerContext) -> bytes:
    """Sends all `x-test-` metadata back as `first-x-test-` before the answer, and as `last-x-test-` after it."""
    call.messages.append(request)
    kept = [(key, value) for key, value in call.metadata if key.startswith("x-test-")]
    context.send_initial_metadata(tuple((f"first-{key}", value) for key, value in kept))
    context.set_trailing_metadata(tuple((f"last-{key}", value) for key, value in kept))
    return request


def _gzip(call: SeenCall, request: bytes, context: grpc.ServicerContext) -> bytes:
    """The request, compressed."""
    call.messages.append(request)
    context.set_compression(grpc.Compression.Gzip)
    return request


def grpc_code(number: int) -> grpc.StatusCode:
    """The status code with this number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)


class GrpcServer:
    """The server, plain HTTP/2 with prior knowledge. It can be stopped and started again on its port."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.health = health.HealthServicer()
        self._seen: queue.SimpleQueue[SeenCall] = queue.SimpleQueue()
        self._server: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> GrpcServer:
        self._pool = ThreadPoolExecutor(SERVER_THREADS, "grpc server")
        server = grpc.server(self._pool, options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(CALLS, self._methods()),
                grpc.method_handlers_generic_handler(ECHO, _ECHO_METHODS),
            )
        )
        reflection.enable_server_reflection((ECHO, HEALTH, reflection.SERVICE_NAME), server)
        server.add_insecure_port(f"{self.address[0]}:{self.address[1]}")
        server.start()
        self._server = server
        return self

    def begin_stop(self, grace_s: float) -> threading.Event:
        """Take no more calls and let the others end; set when they have, or after `grace_s`."""
        assert self._server is not None
        server, self._server = self._server, None
        stopped: threading.Event = server.stop(grace_s)
        return stopped

    def stop(self) -> None:
        """Cancel what is running. Harmless twice."""
        if self._server is not None and self._pool is not None:
            server, self._server = self._server, None
            server.stop(None).wait()
            self._pool.shutdown()

    def next_call(self, method: str, timeout_s: float = CALL_LIMIT_S) -> SeenCall:
        """The next call of `method` that arrives, or has arrived; others before it are forgotten.

        Raises queue.Empty when none comes.
        """
        while True:
            call = self._seen.get(timeout=timeout_s)
            if call.method == method:
                return call

    def forget_calls(self) -> None:
        while not self._seen.empty():
            self._seen.get()

    def _methods(self) -> dict[str, grpc.RpcMethodHandler]:
        unary_unary = {
            "Unary": _unary,
            "Hold": _hold,
            "Fail": _fail,
            "Metadata": _metadata,
            "Gzip": _gzip,
        }
        unary_stream = {"Download": _download, "Subscribe": _subscribe, "FailLate": _fail_late}
        kinds: list[tuple[Callable[..., grpc.RpcMethodHandler], Callable[..., Any], dict[str, Any]]] = [
            (grpc.unary_unary_rpc_method_handler, self._answer_once, unary_unary),
            (grpc.unary_stream_rpc_method_handler, self._answer_many, unary_stream),
            (grpc.stream_unary_rpc_method_handler, self._answer_once, {"Upload": _upload}),
            (grpc.stream_stream_rpc_method_handler, self._answer_many, {"Chat": _chat, "Refuse": _refuse}),
        ]
        return {
            name: make(functools.partial(answer, name, behaviour))
            for make, answer, behaviours in kinds
            for name, behaviour in behaviours.items()
        }

    def _begin(self, method: str, context: grpc.ServicerContext) -> SeenCall:
        call = SeenCall(method, context)
        self._seen.put(call)
        return call

    def _answer_once(
        self, method: str, behaviour: Callable[..., bytes], request: Any, context: grpc.ServicerContext
    ) -> bytes:
        return behaviour(self._begin(method, context), request, context)

    def _answer_many(
        self,
        method: str,
        behaviour: Callable[..., Iterator[bytes]],
        request: Any,
        context: grpc.ServicerContext,
    ) -> Iterator[bytes]:
        yield from behaviour(self._begin(method, context), request, context)
