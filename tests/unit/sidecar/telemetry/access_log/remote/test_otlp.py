from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from config.model.access_log import OpenTelemetryAccessLogSpec
from config.model.core import Locality, Node
from config.model.services import GrpcServiceSpec
from config.model.tracing import LiteralTag, RequestHeaderTag
from sidecar.telemetry.access_log.format import FormatError
from sidecar.telemetry.access_log.remote.otlp import Json, Protobuf, compile_record, compile_request
from tests.support.log_collector import records_of
from tests.unit.sidecar.telemetry.access_log.streams import TraceOfTests, proxied, tcp

NODE = Node("node-id", "node-cluster", locality=Locality(zone="z1"))
SERVICE = GrpcServiceSpec("collector")


def spec(**fields: Any) -> OpenTelemetryAccessLogSpec:
    return OpenTelemetryAccessLogSpec("the-log", SERVICE, **fields)


def request(configured: OpenTelemetryAccessLogSpec) -> Any:
    render = compile_record(configured, Protobuf(), NODE)
    data = compile_request(configured, Protobuf(), NODE)([render(proxied()), render(tcp())])
    return logs_service_pb2.ExportLogsServiceRequest.FromString(data)


def test_records() -> None:
    configured = spec(
        body="%REQ(:METHOD)% %RESPONSE_CODE%",
        attributes={"b": "%PROTOCOL%", "a": {"z": "%REQ(NOPE)%", "list": ["x%PROTOCOL%", {"k": "v"}]}},
    )
    first, second = (MessageToDict(each) for each in records_of(request(configured)))
    assert first == {
        "timeUnixNano": "1795232360888428000",
        "body": {"stringValue": "POST 200"},
        "attributes": [
            {"key": "b", "value": {"stringValue": "HTTP/1.1"}},
            {
                "key": "a",
                "value": {
                    "kvlistValue": {
                        "values": [
                            {"key": "z", "value": {"stringValue": "-"}},
                            {
                                "key": "list",
                                "value": {
                                    "arrayValue": {
                                        "values": [
                                            {"stringValue": "xHTTP/1.1"},
                                            {
                                                "kvlistValue": {
                                                    "values": [{"key": "k", "value": {"stringValue": "v"}}]
                                                }
                                            },
                                        ]
                                    }
                                },
                            },
                        ]
                    }
                },
            },
        ],
    }
    assert second["body"] == {"stringValue": "- 0"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {},
            {
                "log_name": "the-log",
                "zone_name": "z1",
                "cluster_name": "node-cluster",
                "node_name": "node-id",
            },
        ),
        ({"builtin_labels": False}, {}),
        ({"builtin_labels": False, "resource": {"region": "r"}}, {"region": "r"}),
        (
            {"resource": {"zone_name": "mine"}},
            {
                "log_name": "the-log",
                "zone_name": "mine",
                "cluster_name": "node-cluster",
                "node_name": "node-id",
            },
        ),
    ],
)
def test_the_resource(fields: dict[str, Any], expected: dict[str, str]) -> None:
    (resource_logs,) = request(spec(**fields)).resource_logs
    assert {each.key: each.value.string_value for each in resource_logs.resource.attributes} == expected


def test_resource_attributes_may_nest() -> None:
    (resource_logs,) = request(spec(builtin_labels=False, resource={"a": {"b": ["c"]}})).resource_logs
    (attribute,) = resource_logs.resource.attributes
    assert attribute.value.kvlist_value.values[0].value.array_value.values[0].string_value == "c"


def test_json_says_the_same() -> None:
    configured = spec(body="%REQ(USER-AGENT)%", attributes={"a": ["%PROTOCOL%"], "b": {"c": 'q"'}})
    render = compile_record(configured, Json(), NODE)
    document = json.loads(compile_request(configured, Json(), NODE)([render(proxied())]))
    (resource_logs,) = document["resourceLogs"]
    (scope_logs,) = resource_logs["scopeLogs"]
    (record,) = scope_logs["logRecords"]
    assert record == MessageToDict(records_of(request(configured))[0])
    assert resource_logs["resource"]["attributes"][0] == {
        "key": "log_name",
        "value": {"stringValue": "the-log"},
    }


@pytest.mark.parametrize("trace_id", ["0af7651916cd43dd8448eb211c80319c", "8448eb211c80319c"])
def test_a_record_names_its_trace(trace_id: str) -> None:
    info = proxied()
    info.trace = TraceOfTests(trace_id)
    data = compile_request(spec(), Protobuf(), NODE)([compile_record(spec(), Protobuf(), NODE)(info)])
    (found,) = records_of(logs_service_pb2.ExportLogsServiceRequest.FromString(data))
    assert (found.trace_id.hex(), found.span_id.hex()) == (trace_id.zfill(32), "b7ad6b7169203331")
    found = json.loads(compile_record(spec(), Json(), NODE)(info))
    assert (found["traceId"], found["spanId"]) == (trace_id.zfill(32), "b7ad6b7169203331")


def test_text_that_is_no_utf8_does_not_break_a_message() -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"x-long", b"a\xffb")
    record = compile_record(spec(body="%REQ(X-LONG)%"), Protobuf(), NODE)(info)
    data = compile_request(spec(), Protobuf(), NODE)([record])
    (found,) = records_of(logs_service_pb2.ExportLogsServiceRequest.FromString(data))
    assert found.body.string_value == "a!b"


def test_bad_formats_are_refused() -> None:
    for fields in ({"body": "%NOPE%"}, {"attributes": {"a": ["%NOPE%"]}}):
        with pytest.raises(FormatError):
            compile_record(spec(**fields), Protobuf(), NODE)


def test_custom_tags_are_attributes() -> None:
    tags = (LiteralTag("a", "x"), RequestHeaderTag("b", "nope"))
    found = MessageToDict(records_of(request(spec(attributes={"p": "%PROTOCOL%"}, custom_tags=tags)))[0])
    assert found["attributes"] == [
        {"key": "p", "value": {"stringValue": "HTTP/1.1"}},
        {"key": "a", "value": {"stringValue": "x"}},
    ]
