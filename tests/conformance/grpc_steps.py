"""The steps of a scenario that speak gRPC, and the backend that answers them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import status_pb2

from tests.conformance.scenarios import ScenarioFailure
from tests.support.grpc_client import Conversation, GrpcClient
from tests.support.grpc_echo import (
    CALL_LIMIT_S,
    ECHO,
    EchoRequest,
    EchoResponse,
    GrpcServer,
    StreamRequest,
    StreamResponse,
    serialize,
)

_CONNECT_LIMIT_S = 10.0
_STREAM_LIMIT_S = 120.0
"""A stream goes on while other steps wait for metrics."""


class GrpcSteps:
    """The gRPC actions of one run; `address` fills the placeholders in an address and splits it."""

    def __init__(self, address: Callable[[str], tuple[str, int]]) -> None:
        self._address = address
        self._backend: GrpcServer | None = None
        self._client: GrpcClient | None = None
        self._stream: Conversation | None = None
        self.actions: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "grpc_unary": self._unary,
            "grpc_stream_open": self._open_stream,
            "grpc_stream_send": self._send_on_stream,
            "grpc_stream_close": self._close_stream,
        }

    def start_backend(self, host: str, port: int) -> None:
        self._backend = GrpcServer(host, port).start()

    def close(self) -> None:
        """End what is left. Harmless twice."""
        self._close_stream({})
        if self._backend is not None:
            self._backend.stop()

    def _unary(self, step: Mapping[str, Any]) -> None:
        status = json_format.ParseDict(step.get("return_status", {}), status_pb2.Status())
        expected = step.get("expect", {}).get("code", 0)
        with self._connect(step) as client:
            echo = client.channel.unary_unary(f"/{ECHO}/Echo", serialize, EchoResponse.FromString)
            for number in range(int(step.get("count", 1))):
                code, text = _outcome(echo, EchoRequest(return_status=status))
                if code != expected:
                    raise ScenarioFailure(f"call {number}: status {code} {text!r}, expected {expected}")

    def _open_stream(self, step: Mapping[str, Any]) -> None:
        self._client = self._connect(step)
        method = self._client.channel.stream_stream(
            f"/{ECHO}/EchoStream", serialize, StreamResponse.FromString
        )
        self._stream = Conversation(method, _STREAM_LIMIT_S)

    def _send_on_stream(self, step: Mapping[str, Any]) -> None:
        if self._stream is None:
            raise ScenarioFailure("no stream is open")
        for count in step["response_counts"]:
            with _failures_told(f"message that asks for {count} answers"):
                self._stream.send(StreamRequest(response_count=count))
                for _ in range(count):
                    self._stream.receive()

    def _close_stream(self, _: Mapping[str, Any]) -> None:
        """Close the connection under the stream, which was not ended."""
        if self._client is not None:
            self._client.close()
        if self._stream is not None:
            self._stream.half_close()
        self._client = self._stream = None

    def _connect(self, step: Mapping[str, Any]) -> GrpcClient:
        client = GrpcClient(self._address(step["address"]))
        try:
            grpc.channel_ready_future(client.channel).result(_CONNECT_LIMIT_S)
        except grpc.FutureTimeoutError as error:
            client.close()
            raise ScenarioFailure(f"no connection within {_CONNECT_LIMIT_S:g} s") from error
        return client


def _outcome(call: Callable[..., Any], request: Any) -> tuple[int, str]:
    """The number of the status, and its text."""
    try:
        call(request, timeout=CALL_LIMIT_S)
    except grpc.RpcError as error:
        return error.code().value[0], error.details()
    return 0, ""


@contextlib.contextmanager
def _failures_told(what: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise ScenarioFailure(f"{what}: {error.code()} {error.details()}") from error
    except StopIteration:
        raise ScenarioFailure(f"{what}: the stream has ended") from None
