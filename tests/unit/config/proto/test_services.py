"""The services that the proxy itself calls, as specs; read from text as the messages of their own."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from config.model.services import GrpcServiceSpec, HttpServiceSpec
from config.proto.fields import check_fields
from config.proto.path import Context, Path
from config.proto.services import translate_grpc_service, translate_http_service
from config.proto.types import message_class

CORE = "envoy.config.core.v3."


def read(kind: str, fields: dict[str, Any]) -> tuple[Any, Path]:
    made = message_class(CORE + kind)
    assert made is not None
    message = json_format.ParseDict(fields, made())
    at = Path(Context(clusters=("collector",)))
    check_fields(message, at)
    return message, at


def grpc(fields: dict[str, Any]) -> tuple[GrpcServiceSpec | None, list[str]]:
    message, at = read("GrpcService", fields)
    spec = translate_grpc_service(message, at)
    return spec, [str(problem) for problem in at.context.problems.errors]


def http(fields: dict[str, Any]) -> tuple[HttpServiceSpec, list[str]]:
    message, at = read("HttpService", fields)
    spec = translate_http_service(message, at)
    return spec, [str(problem) for problem in at.context.problems.errors]


def test_grpc() -> None:
    envoy = {
        "cluster_name": "collector",
        "authority": "otel",
        "max_receive_message_length": 100,
        "skip_envoy_headers": True,
    }
    spec, problems = grpc(
        {
            "envoy_grpc": envoy,
            "timeout": "0.5s",
            "initial_metadata": [{"key": "X-Token", "value": "50%%"}],
        }
    )
    assert problems == []
    assert spec == GrpcServiceSpec("collector", "otel", 0.5, (("x-token", "50%"),), 100, True)


def test_grpc_defaults() -> None:
    assert grpc({"envoy_grpc": {"cluster_name": "collector"}}) == (GrpcServiceSpec("collector"), [])


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"envoy_grpc": {"cluster_name": "colector"}}, "did you mean 'collector'?"),
        ({"google_grpc": {"target_uri": "x", "stat_prefix": "y"}}, "google_grpc: refused: use envoy_grpc"),
        (
            {
                "envoy_grpc": {"cluster_name": "collector"},
                "initial_metadata": [{"key": "a", "value": "%REQ(x)%"}],
            },
            "initial_metadata[0].value: refused",
        ),
    ],
)
def test_grpc_problems(fields: dict[str, Any], problem: str) -> None:
    _, (found,) = grpc(fields)
    assert problem in found


def test_http() -> None:
    spec, problems = http(
        {
            "http_uri": {"uri": "https://otel:4318/v1/traces?x=1", "cluster": "collector", "timeout": "2s"},
            "request_headers_to_add": [{"header": {"key": "Authorization", "value": "Bearer t"}}],
        }
    )
    assert problems == []
    assert spec == HttpServiceSpec(
        "collector", "otel:4318", "/v1/traces?x=1", 2.0, (("authorization", "Bearer t"),)
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"uri": "otel:4318", "cluster": "collector", "timeout": "1s"}, "not a URI of HTTP"),
        ({"uri": "http://otel", "cluster": "other", "timeout": "1s"}, "unknown cluster 'other'"),
        ({"uri": "http://otel", "cluster": "collector", "timeout": "-1s"}, "must not be negative"),
    ],
)
def test_http_problems(fields: dict[str, Any], problem: str) -> None:
    _, (found,) = http({"http_uri": fields})
    assert problem in found
