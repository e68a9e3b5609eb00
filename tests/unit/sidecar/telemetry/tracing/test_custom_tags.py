"""Tags by configuration, of every kind."""

from __future__ import annotations

import pytest

from config.model.core import Metadata, SocketAddress
from config.model.tracing import (
    CustomTag,
    EnvironmentTag,
    FormatTag,
    LiteralTag,
    MetadataSource,
    MetadataTag,
    RequestHeaderTag,
)
from protocols.http.headers import Headers
from sidecar.stream_info import ConnectionInfo, StreamInfo, UpstreamInfo
from sidecar.telemetry.tracing.custom_tags import compile_tags

ENVIRON = {"HERE": "env"}


def stream() -> StreamInfo:
    info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 0)
    info.request_headers = Headers.request(b"GET", b"/p", b"h", [(b"x-a", "ü".encode()), (b"x-b", b"\xff")])
    info.response_code = 200
    info.route_metadata = Metadata(
        {"ns": {"text": "t", "number": 1.5, "whole": 2.0, "deep": {"b": "x", "a": [True]}}}
    )
    info.cluster_metadata = Metadata({"ns": {"text": "of the cluster"}})
    info.upstream = UpstreamInfo()
    info.upstream.host_metadata = Metadata({"ns": {"text": "of the host"}})
    return info


def value(tag: CustomTag, info: StreamInfo | None = None) -> str | None:
    ((name, value_of),) = compile_tags([tag], ENVIRON)
    assert name == "t"
    return value_of(info or stream())


def metadata(source: MetadataSource, *path: str, key: str = "ns", default: str = "") -> MetadataTag:
    return MetadataTag("t", source, key, path, default)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (LiteralTag("t", "v"), "v"),
        (EnvironmentTag("t", "HERE", "d"), "env"),
        (EnvironmentTag("t", "THERE", "d"), "d"),
        (EnvironmentTag("t", "THERE"), None),
        (RequestHeaderTag("t", "x-a", "d"), "ü"),
        (RequestHeaderTag("t", "x-b"), "\ufffd"),
        (RequestHeaderTag("t", "x-c", "d"), "d"),
        (RequestHeaderTag("t", "x-c"), None),
        (metadata(MetadataSource.ROUTE, "text"), "t"),
        (metadata(MetadataSource.ROUTE, "number"), "1.5"),
        (metadata(MetadataSource.ROUTE, "whole"), "2"),
        (metadata(MetadataSource.ROUTE, "deep"), '{"a":[true],"b":"x"}'),
        (metadata(MetadataSource.ROUTE, "deep", "b"), "x"),
        (metadata(MetadataSource.ROUTE, "deep", "c", default="d"), "d"),
        (metadata(MetadataSource.ROUTE, "text", "c"), None),
        (metadata(MetadataSource.ROUTE, key="other", default="d"), "d"),
        (metadata(MetadataSource.CLUSTER, "text"), "of the cluster"),
        (metadata(MetadataSource.HOST, "text"), "of the host"),
        (metadata(MetadataSource.REQUEST, "text", default="d"), "d"),
        (FormatTag("t", "%REQ(:METHOD)% %RESPONSE_CODE%"), "GET 200"),
        (FormatTag("t", "%REQ(x-none)%"), None),
    ],
)
def test_values(tag: CustomTag, expected: str | None) -> None:
    assert value(tag) == expected


def test_where_there_is_nothing() -> None:
    info = StreamInfo(ConnectionInfo(SocketAddress("1.1.1.1", 1), SocketAddress("2.2.2.2", 2)), 0.0, 0)
    assert value(RequestHeaderTag("t", "x-a", "d"), info) == "d"
    for source in MetadataSource:
        assert value(metadata(source, "text"), info) is None


def test_the_first_of_a_name_counts() -> None:
    ((name, value_of),) = compile_tags([LiteralTag("t", "a"), LiteralTag("t", "b")], ENVIRON)
    assert (name, value_of(stream())) == ("t", "a")
