"""CEL conditions given to Envoy and to this proxy: the same attributes have the same values, the same expressions the same outcome.

Each expression is the condition of an RBAC rule of its own route, which denies what it holds for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api.expr.v1alpha1 import syntax_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict

from config.expression import library_env
from tests.interop.stage import Stage
from tests.support.bootstraps import cluster, downstream_tls
from tests.support.envoy import require_envoy
from tests.support.http_client import RawClient
from tests.support.process import ProxyCommand, sidecar_command

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3"

EXPRESSIONS = (
    "request.path == '/0?x=1&y'", "request.path.startsWith('/1')", "request.url_path == '/2'", "request.query == 'x=1&y'",
    "request.host == 'a.example:81'", "request.scheme == 'https'", "request.method == 'POST'", "request.method in ['GET', 'POST']",
    "request.referer == 'r'", "request.useragent == 'tester'", "has(request.referer)", "has(request.useragent)",
    "request.headers['x-many'] == '1,2'", "request.headers['X-MANY'] == '1,2'", "request.headers.host == 'a.example:81'",
    "request.headers[':authority'] == 'a.example:81'", "request.headers[':method'] == 'POST'", "'x-many' in request.headers", "'X-Many' in request.headers",
    "request.headers[request.method == 'POST' ? 'X-MANY' : 'y'] == '1,2'", "size(request.path) > 2 && 'X-Many' in request.headers",
    "has(request.headers.none)", "request.headers.none == 'x'", "!(request.headers.none == 'x')", "request.headers.none != 'x' || true",
    "request.headers.none == 'x' && false", "!(request.headers.none == 'x' && false)", "request.size == 4", "request.size > 3",
    "request.total_size > 4", "request.protocol == 'HTTP/1.1'", "request.time > timestamp('2020-01-01T00:00:00Z')",
    "request.duration > duration('0s')", "has(request.duration)", "request.id != ''", "request.id.size() == 36",
    "response.code == 200", "response.code == 0", "has(response.code)", "has(response.headers.x)", "response.size == 0",
    "response.flags == 0", "response.code_details == ''", "has(response.code_details)", "response.grpc_status == 0",
    "has(response.grpc_status)", "source.address.startsWith('127.0.0.1:')", "source.port > 1024", "destination.port > 0",
    "destination.address.startsWith('127.0.0.1:')", "connection.mtls", "connection.mtls == true", "connection.requested_server_name == 'sni.example'",
    "connection.tls_version == 'TLSv1.3'", "connection.uri_san_peer_certificate == 'spiffe://cluster.local/ns/default/sa/client'",
    "connection.uri_san_local_certificate == 'spiffe://cluster.local/ns/default/sa/server'", "has(connection.dns_san_peer_certificate)",
    "connection.subject_peer_certificate == ''", "connection.sha256_peer_certificate_digest.size() == 64", "connection.id > 0u",
    "connection.id == 0", "has(connection.termination_details)", "has(connection.transport_failure_reason)",
    "connection.peer_certificate.startsWith('-----BEGIN')", "upstream.address == ''", "has(upstream.address)", "upstream.port == 0",
    "upstream.request_attempt_count == 0u", "xds.cluster_name == 'app'", "xds.route_name == 'name'", "xds.route_name != ''",
    "xds.virtual_host_name != ''", "xds.filter_chain_name == ''", "xds.listener_direction == 0", "xds.node.id == 'x'", "has(xds.node)",
    "xds.cluster_metadata.filter_metadata.istio.services[0].name == 'svc'", "xds.cluster_metadata.filter_metadata['istio'].services[1].name == 'x'",
    "has(xds.cluster_metadata.filter_metadata.istio)", "has(xds.cluster_metadata.filter_metadata.nobody)",
    "xds.route_metadata.filter_metadata.r.number == 2.0", "xds.route_metadata.filter_metadata.r.number == 2",
    "xds.route_metadata.filter_metadata.r.flag", "xds.route_metadata.filter_metadata.r.nothing == null",
    "metadata.filter_metadata.nobody.x == 'y'", "has(metadata.filter_metadata.nobody)", "filter_state.nobody == 'x'",
    "has(filter_state.nobody)", "cannot_evaluate", "cannot_evaluate || true", "true || cannot_evaluate", "false && cannot_evaluate",
    "1 == 1.0", "1 == 1u", "'a' == 1", "'a' != 1", "'a' < 'b'", "1 < 2.5", "1 < 'a'", "b'a' == b'a'", "null == null",
    "request.method == 'POST' ? true : false", "cannot_evaluate ? true : false", "'true'", "1", "request.method.contains('OS')",
    "request.method.endsWith('ST')", "request.method.matches('P.*T')", "size(request.method) == 4", "[1, 2][1] == 2",
    "{'a': 1}['a'] == 1", "{'a': 1}.b == 1", "int('5') == 5", "1 / 0 == 1", "request.headers['x-many'].size() == 3",
    "request[0] == 1", "request.headers[0] == 'x'", "request == 1", "request.headers == 1", "duration('1s') < duration('1m')",
    "xds.upstream_host_metadata == null", "request.method == request.headers[':method']",
)  # fmt: skip


def message(text: str) -> dict[str, Any]:
    """The `google.api.expr.v1alpha1.Expr` of a text, as JSON."""
    packed = library_env().compile(text, disable_check=True).serialize()
    parsed = syntax_pb2.ParsedExpr()
    parsed.ParseFromString(AnyMessage.FromString(packed).value)
    found: dict[str, Any] = MessageToDict(parsed.expr, preserving_proto_field_name=True)
    return found


def _route(number: int, text: str) -> dict[str, Any]:
    rule = {"permissions": [{"any": True}], "principals": [{"any": True}], "condition": message(text)}
    rules = {"action": "DENY", "policies": {"it": rule}}
    return {
        "match": {"path": f"/{number}"},
        "name": "name",
        "route": {"cluster": "app"},
        "metadata": {"filter_metadata": {"r": {"number": 2, "flag": True, "nothing": None}}},
        "typed_per_filter_config": {"rbac": {"@type": f"{RBAC}.RBACPerRoute", "rbac": {"rules": rules}}},
    }


def _held(directory: Path, command: ProxyCommand) -> list[bool]:
    """For which expressions the rule held."""
    directory.mkdir()
    stage = Stage(directory, command)
    backend = stage.http_backend()
    rbac = {"name": "rbac", "typed_config": {"@type": f"{RBAC}.RBAC"}}
    listener = stage.http_listener(
        *[_route(number, text) for number, text in enumerate(EXPRESSIONS)],
        http_filters=[rbac],
        transport_socket=downstream_tls(stage.mesh.leaf("server"), stage.mesh.root),
    )
    metadata = {"filter_metadata": {"istio": {"services": [{"name": "svc"}]}}}
    try:
        stage.start([listener], [cluster("app", backend.address, metadata=metadata)])
        return [_is_denied(stage, number) for number in range(len(EXPRESSIONS))]
    finally:
        stage.close()


def _is_denied(stage: Stage, number: int) -> bool:
    headers = [("user-agent", "tester"), ("x-many", "1"), ("x-many", "2")]
    context = stage.mesh.client_context("client", alpn=())
    with RawClient(stage.address, context=context, server_name="sni.example") as client:
        response = client.request("POST", f"/{number}?x=1&y", headers, b"body", host="a.example:81")
    assert response.status in (200, 403), EXPRESSIONS[number]
    return response.status == 403


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[bool], list[bool]]]:
    """By Envoy, and by this proxy."""
    directory = tmp_path_factory.mktemp("cel")
    yield _held(directory / "envoy", require_envoy()), _held(directory / "ours", sidecar_command())


def test_same_conditions_hold(held: tuple[list[bool], list[bool]]) -> None:
    theirs, ours = held
    different = {
        text: f"envoy {one}, ours {other}"
        for text, one, other in zip(EXPRESSIONS, theirs, ours, strict=True)
        if one is not other
    }
    assert different == {}
    assert theirs.count(True) > len(EXPRESSIONS) // 3
    assert theirs.count(False) > len(EXPRESSIONS) // 3
