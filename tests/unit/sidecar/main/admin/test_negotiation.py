from __future__ import annotations

import pytest
from msgspec import structs

from protocols.http.headers import Headers
from sidecar.main.admin.api import AdminRequest, parse_target
from sidecar.main.admin.negotiation import PageFormat, accepts_gzip, page_format, parse_choices

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
#: What Prometheus sends: 2.42, the same with native histograms, 3.x.
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_NATIVE = f"{PROTOBUF},{PROMETHEUS_2}".replace("1.0.0,", "1.0.0;q=0.8,")
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def asked(accept: str | None, authority: bytes = b"10.0.0.1:15090", **more: bytes) -> AdminRequest:
    fields = [(b"accept", accept.encode())] if accept is not None else []
    fields += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    target = b"/stats/prometheus"
    return parse_target(
        b"GET", target, Headers.request(b"GET", target, authority, fields=fields, scheme=b"http")
    )


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, PageFormat.TEXT),
        ("", PageFormat.TEXT),
        ("*/*", PageFormat.TEXT),
        ("text/html", PageFormat.TEXT),
        (PROMETHEUS_2, PageFormat.OPENMETRICS),
        (PROMETHEUS_3, PageFormat.OPENMETRICS),
        (PROMETHEUS_NATIVE, PageFormat.PROTOBUF),
        (PROTOBUF, PageFormat.PROTOBUF),
        ("application/vnd.google.protobuf", PageFormat.PROTOBUF),
        (f"{PROTOBUF};q=0.1, text/plain;q=0.9", PageFormat.TEXT),
        (f"text/plain;q=0.1, {PROTOBUF};q=0.9", PageFormat.PROTOBUF),
        (f"text/plain, {PROTOBUF};q=0", PageFormat.TEXT),
        (f"{PROTOBUF};q=0", PageFormat.TEXT),
        (f"{PROTOBUF};q=high, */*", PageFormat.TEXT),
        (f"{PROTOBUF};q=2, */*", PageFormat.TEXT),
        ("text/plain, application/openmetrics-text", PageFormat.TEXT),
        ("application/openmetrics-text, text/plain", PageFormat.OPENMETRICS),
        ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", PageFormat.TEXT),
        ('Application/OpenMetrics-Text; Version="1.0.0"', PageFormat.OPENMETRICS),
        ("application/vnd.google.protobuf;encoding=text, */*;q=0.1", PageFormat.TEXT),
        ("application/vnd.google.protobuf;proto=some.Other, */*;q=0.1", PageFormat.TEXT),
        (";;,,;q=1", PageFormat.TEXT),
    ],
)
def test_format(accept: str | None, expected: PageFormat) -> None:
    assert page_format(asked(accept)) is expected


def test_two_fields_are_one_list() -> None:
    request = asked("text/plain;q=0.3")
    assert request.headers is not None
    request.headers.add(b"accept", b"application/openmetrics-text;q=0.8")
    assert page_format(request) is PageFormat.OPENMETRICS


def test_istios_agent_gets_text() -> None:
    timeout = {"x_prometheus_scrape_timeout_seconds": b"10"}
    assert page_format(asked(PROMETHEUS_2, b"localhost:15090", **timeout)) is PageFormat.TEXT
    assert page_format(asked(PROMETHEUS_NATIVE, b"localhost:15090", **timeout)) is PageFormat.TEXT
    native = structs.replace(
        asked(PROMETHEUS_NATIVE, b"localhost:15090", **timeout),
        query={"histogram_buckets": "prometheusnative"},
    )
    assert page_format(native) is PageFormat.PROTOBUF
    assert page_format(asked(PROMETHEUS_2, b"127.0.0.1:15090", **timeout)) is PageFormat.OPENMETRICS
    assert page_format(asked(PROMETHEUS_2, b"localhost:15090")) is PageFormat.OPENMETRICS
    assert page_format(AdminRequest("GET", "/stats/prometheus", {})) is PageFormat.TEXT


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br, deflate", False),
        ("br, gzip", True),
        ("x-gzip", True),
        ("identity", False),
    ],
)
def test_gzip(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


def test_choices() -> None:
    (first, second) = parse_choices('a/b;x="y";q=0.25 , c')
    assert first == ("a/b", {"x": "y"}, 0.25)
    assert second == ("c", {}, 1.0)
