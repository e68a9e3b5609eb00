from __future__ import annotations

import json
import os
import re
import socket
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.model.core import InternalAddress, PipeAddress, SocketAddress
from protocols.http.headers import Headers
from protocols.peer_metadata import PeerMetadata
from sidecar.stream_info import (
    StreamInfo,
    UpstreamConnectionState,
)
from sidecar.telemetry.access_log.format import DEFAULT_FORMAT, FormatError, compile_format
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.access_log.operators import FORMATTERS, OPERATORS
from tests.unit.sidecar.telemetry.access_log.streams import (
    START_NS,
    START_S,
    TraceOfTests,
    connection,
    no_route,
    proxied,
    tcp,
)

#: Operator; what Envoy 1.40 printed for a proxied request, a local reply, and a failed TCP session.
OBSERVED = [
    ("%START_TIME%", *["2026-11-21T03:39:20.888Z"] * 3),
    ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", *["2026/11/21T03:39:20+0000 1795232360"] * 3),
    ("%START_TIME(%s.%3f)%", *["1795232360.888"] * 3),
    ("%START_TIME(%s.%f)%", *["1795232360.888428000"] * 3),
    ("%START_TIME(%s.%9f)%", *["1795232360.888428000"] * 3),
    ("%START_TIME(%E3S %E4S %E*S %3f|%E6f)%", *["20.888 20.8884 20.888428 888|888428"] * 3),
    (
        "%START_TIME(%j %a %A %b %y %e %p %I %Z %D %T %F %c)%",
        *["325 Sat Saturday Nov 26 21 AM 03 UTC 11/21/26 03:39:20 2026-11-21 Sat Nov 21 03:39:20 2026"] * 3,
    ),
    ("%START_TIME(%s%%)%", *["1795232360%"] * 3),
    ("%REQ(:METHOD)%", "POST", "GET", "-"),
    ("%REQ(:PATH)%", "/rewritten/ab?q=1&x=2", "/none", "-"),
    ("%REQ(x-envoy-original-path?:PATH)%", "/ok/ab?q=1&x=2", "/none", "-"),
    ("%REQ(:AUTHORITY)%", "a.example", "a.example", "-"),
    ("%REQ(HOST)%", "a.example", "a.example", "-"),
    ("%REQ(:SCHEME)%", "https", "https", "-"),
    ("%REQ(USER-AGENT)%", "ua/1 é\tz", "-", "-"),
    ("%REQ(X-EMPTY)%", "", "-", "-"),
    ("%REQ(X-EMPTY?:METHOD)%", "", "GET", "-"),
    ("%REQ(X-TWO)%", "a", "-", "-"),
    ("%REQ(X-LONG):3%", "abc", "-", "-"),
    ("%REQ(X-NOPE?X-LONG):4%", "abcd", "-", "-"),
    ("%REQ(X-NOPE):1%", "-", "-", "-"),
    ("%REQ(X-NOPE?)%", "-", "-", "-"),
    ("%REQ(?X-LONG)%", "abcdefghij", "-", "-"),
    ("%RESP(X-RESP)%", "RV", "-", "-"),
    ("%RESP(X-TWO)%", "a", "-", "-"),
    ("%RESP(:STATUS)%", "200", "404", "-"),
    ("%RESP(X-EMPTY)%", "", "-", "-"),
    ("%TRAILER(x)%", "-", "-", "-"),
    ("%REQUEST_HEADERS_BYTES%", "277", None, "0"),
    ("%RESPONSE_HEADERS_BYTES%", "127", None, "0"),
    ("%RESPONSE_TRAILERS_BYTES%", "0", "0", "0"),
    ("%RESPONSE_CODE%", "200", "404", "0"),
    ("%RESPONSE_CODE_DETAILS%", "via_upstream", "route_not_found", "-"),
    ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "via_upstream", "route_not_found", "-"),
    ("%RESPONSE_FLAGS%", "-", "NR", "UF,URX"),
    ("%RESPONSE_FLAGS_LONG%", "-", "NoRouteFound", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"),
    ("%DURATION%", "12", "0", "0"),
    ("%REQUEST_DURATION%", "0", "-", "-"),
    ("%REQUEST_TX_DURATION%", "1", "-", "-"),
    ("%RESPONSE_DURATION%", "11", "-", "-"),
    ("%RESPONSE_TX_DURATION%", "0", "-", "-"),
    ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%", "12", "0", None),
    ("%COMMON_DURATION(DS_RX_BEG:US_TX_END:us)%", "1000", "-", "-"),
    ("%BYTES_RECEIVED%", "4", "0", "0"),
    ("%BYTES_SENT%", "5", "0", "0"),
    ("%UPSTREAM_WIRE_BYTES_SENT%", "309", "0", "0"),
    ("%UPSTREAM_WIRE_BYTES_RECEIVED%", "86", "0", "0"),
    ("%DOWNSTREAM_WIRE_BYTES_SENT%", "173", None, "0"),
    ("%DOWNSTREAM_WIRE_BYTES_RECEIVED%", "146", None, "0"),
    ("%DOWNSTREAM_HEADER_BYTES_SENT%", "149", None, "0"),
    ("%DOWNSTREAM_HEADER_BYTES_RECEIVED%", "103", None, "0"),
    ("%PROTOCOL%", "HTTP/1.1", "HTTP/1.1", "-"),
    ("%UPSTREAM_HOST%", "127.0.0.1:18180", "-", "127.0.0.1:1"),
    ("%UPSTREAM_HOST_NAME%", "uphost", "-", "127.0.0.1:1"),
    ("%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "uphost", "-", "127.0.0.1"),
    ("%UPSTREAM_CLUSTER%", "up", "-", "dead"),
    ("%UPSTREAM_CLUSTER_RAW%", "up", "-", "dead"),
    ("%UPSTREAM_LOCAL_ADDRESS%", "127.0.0.1:42414", "-", "-"),
    ("%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "127.0.0.1", "-", "-"),
    ("%UPSTREAM_LOCAL_PORT%", "42414", "-", "-"),
    ("%UPSTREAM_REMOTE_ADDRESS%", "127.0.0.1:18180", "-", "-"),
    ("%UPSTREAM_REMOTE_PORT%", "18180", "-", "-"),
    ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "-", "-", "delayed_connect_error:_Connection_refused"),
    ("%UPSTREAM_CONNECTION_ID%", "2", "0", "0"),
    ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "1", "0", "1"),
    ("%UPSTREAM_TLS_VERSION%", "-", "-", "-"),
    ("%UPSTREAM_PEER_SUBJECT%", "-", "-", "-"),
    ("%DOWNSTREAM_REMOTE_ADDRESS%", *["127.0.0.1:50130"] * 3),
    ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", *["127.0.0.1"] * 3),
    ("%DOWNSTREAM_REMOTE_PORT%", *["50130"] * 3),
    ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", *["127.0.0.1:50130"] * 3),
    ("%DOWNSTREAM_LOCAL_ADDRESS%", *["127.0.0.1:18100"] * 3),
    ("%DOWNSTREAM_LOCAL_PORT%", *["18100"] * 3),
    ("%DOWNSTREAM_TLS_VERSION%", "TLSv1.3", "TLSv1.3", "-"),
    ("%DOWNSTREAM_TLS_CIPHER%", "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", "-"),
    ("%DOWNSTREAM_PEER_SUBJECT%", "CN=client,O=Org", "CN=client,O=Org", "-"),
    ("%DOWNSTREAM_PEER_ISSUER%", "CN=inter", "CN=inter", "-"),
    ("%DOWNSTREAM_PEER_SERIAL%", "093a1c", "093a1c", "-"),
    ("%DOWNSTREAM_PEER_FINGERPRINT_256%", "ae6e18ff", "ae6e18ff", "-"),
    ("%DOWNSTREAM_PEER_CERT_V_START%", *["2026-01-01T00:00:00.000Z"] * 2, "-"),
    ("%DOWNSTREAM_PEER_CERT_V_START(%Y %s)%", *["2026 1767225600"] * 2, "-"),
    ("%DOWNSTREAM_PEER_CERT_V_END%", *["2027-06-01T00:00:00.000Z"] * 2, "-"),
    ("%DOWNSTREAM_PEER_URI_SAN%", *["spiffe://cluster.local/ns/a/sa/b"] * 2, "-"),
    ("%DOWNSTREAM_PEER_DNS_SAN%", *["d1.example,d2.example"] * 2, "-"),
    ("%DOWNSTREAM_PEER_IP_SAN%", "-", "-", "-"),
    ("%DOWNSTREAM_LOCAL_URI_SAN%", *["spiffe://cluster.local/ns/a/sa/b"] * 2, "-"),
    ("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "-", "-", "-"),
    ("%REQUESTED_SERVER_NAME%", "-", "-", "-"),
    ("%ROUTE_NAME%", "rt", "-", "-"),
    ("%VIRTUAL_CLUSTER_NAME%", "-", "-", "-"),
    ("%CONNECTION_ID%", "7", "7", "7"),
    ("%STREAM_ID%", "3423310d-c5be-4cdb-9a51-e3dbf3b85bea", "-", None),
    ("%CONNECTION_TERMINATION_DETAILS%", "-", "-", "-"),
    ("%FILTER_CHAIN_NAME%", "fcname", "fcname", "-"),
    ("%LISTENER_NAME%", "l18100", "l18100", "tb"),
    ("%ACCESS_LOG_TYPE%", "DownstreamEnd", "DownstreamEnd", "TcpConnectionEnd"),
    ("%TLS_JA3_FINGERPRINT%", "-", "-", "-"),
    ("%TRACE_ID%", "-", "-", "-"),
    ("%GRPC_STATUS%", "-", "-", "-"),
    ("%QUERY_PARAM(q)%", "1", "-", "-"),
    ("%QUERY_PARAM(nope)%", "-", "-", "-"),
    ("%QUERY_PARAM(q):0%", "", "-", "-"),
    ("%QUERY_PARAMS%", "q=1&x=2", "-", "-"),
    ("%PATH%", "/ok/ab?q=1&x=2", "/none", "-"),
    ("%PATH(NQ)%", "/ok/ab", "/none", "-"),
    ("%PATH(WQ:ORIG)%", "/ok/ab?q=1&x=2", "-", "-"),
    ("%PATH(NQ:PATH)%", "/rewritten/ab", "/none", "-"),
    ("%DYNAMIC_METADATA(ns:key)%", "-", "-", "-"),
    ("%CLUSTER_METADATA(istio:k)%", "cv", "-", "-"),
    ("%CLUSTER_METADATA(istio)%", '{"k":"cv","services":[{"host":"h","name":"s"}]}', "-", "-"),
    ("%UPSTREAM_METADATA(istio:workload)%", "w;n;c", "-", "-"),
    (
        "%METADATA(ROUTE:istio)%",
        '{"b":true,"config":"cfg","f":1.5,"l":[1,"a\\"b"],"n":3,"o":{"a":null,"z":"x"}}',
        "-",
        "-",
    ),
    ("%METADATA(ROUTE:istio:config)%", "cfg", "-", "-"),
    ("%METADATA(ROUTE:istio:config):2%", "cf", "-", "-"),
    ("%METADATA(ROUTE:istio:n)%", "3", "-", "-"),
    ("%METADATA(ROUTE:istio:f)%", "1.5", "-", "-"),
    ("%METADATA(ROUTE:istio:b)%", "true", "-", "-"),
    ("%METADATA(ROUTE:istio:l)%", '[1,"a\\"b"]', "-", "-"),
    ("%METADATA(ROUTE:istio:o:z)%", "x", "-", "-"),
    ("%METADATA(ROUTE:istio:config:deeper)%", "-", "-", "-"),
    ("%METADATA(ROUTE:nope)%", "-", "-", "-"),
    ("%METADATA(ROUTE)%", "-", "-", "-"),
    ("%METADATA(CLUSTER:istio:services)%", '[{"host":"h","name":"s"}]', "-", "-"),
    ("%METADATA(UPSTREAM_HOST:istio:workload)%", "w;n;c", "-", "-"),
    ("%METADATA(LISTENER:x)%", "-", "-", "-"),
    ("%FILTER_STATE(nope)%", "-", "-", "-"),
    ("%FILTER_STATE(nope:PLAIN)%", "-", "-", "-"),
    ("%BYTES_RETRANSMITTED%", "0", "0", "0"),
    ("%CUSTOM_FLAGS%", "", "", ""),
    ("%%", "%", "%", "%"),
]


@pytest.mark.parametrize(("text", "http", "local", "session"), OBSERVED)
def test_prints_what_envoy_prints(text: str, http: str, local: str | None, session: str | None) -> None:
    render = compile_format(text)
    for info, expected in ((proxied(), http), (no_route(), local), (tcp(), session)):
        if expected is not None:
            assert render(info).decode() == expected


def test_default_format() -> None:
    render = compile_format(DEFAULT_FORMAT)
    assert render(proxied()).decode() == (
        '[2026-11-21T03:39:20.888Z] "POST /ok/ab?q=1&x=2 HTTP/1.1" 200 - 4 5 12 10 "-" "ua/1 é\tz" '
        '"3423310d-c5be-4cdb-9a51-e3dbf3b85bea" "a.example" "127.0.0.1:18180"\n'
    )
    assert render(tcp()).decode() == (
        '[2026-11-21T03:39:20.888Z] "- - -" 0 UF,URX 0 0 0 - "-" "-" "-" "-" "127.0.0.1:1"\n'
    )


#: Formats that Envoy 1.40 refuses.
REFUSED = [
    *(
        "%NOPE%",
        "%REQ%",
        "%REQ()%",
        "%REQ(a?b?c)%",
        "%",
        "%%%",
        "a%b",
        "%PROTOCOL",
        "%PROTOCOL(x)%",
        "%protocol%",
    ),
    *(
        "%REQ(a):x%",
        "%REQ(a):99999999999999999999%",
        "%ENVIRONMENT%",
        "%ENVIRONMENT()%",
        "%METADATA(NOPE:a)%",
    ),
    *("%METADATA%", "%FILTER_STATE%", "%FILTER_STATE(a:BAD)%", "%FILTER_STATE(a:FIELD)%", "%HOSTNAME(x)%"),
    *("%HOSTNAME:3%", "%RESPONSE_CODE:3%", "%START_TIME:5%", "%START_TIME(a\nb)%", "%DYNAMIC_METADATA()%"),
    *(
        "%QUERY_PARAM%",
        "%PATH(XX)%",
        "%PATH(NQ:XX)%",
        "%ROUTE_NAME:3%",
        "%UPSTREAM_HOST:3%",
        "%GRPC_STATUS(X)%",
    ),
    *("%REQ(a)b%", "%REQ(a%", "%REQ (a)%", "%REQ(A B)%", "%REQ(a,b)%", "%UPSTREAM_HOST_NAME(x)%"),
    *("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:s)%", "%DOWNSTREAM_REMOTE_ADDRESS:3%", "%DURATION:1%"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_what_envoy_refuses(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        compile_format("before " + text)
    assert caught.value.position >= len("before ")
    assert caught.value.text == "before " + text
    assert str(caught.value.position) in str(caught.value)


def test_text_between_operators_stays_as_it_is() -> None:
    render = compile_format("é {100%%} [%PROTOCOL%]\t%RESPONSE_CODE%\r\n")
    assert render(proxied()) == "é {100%} [HTTP/1.1]\t200\r\n".encode()
    assert compile_format("no operator %%\n")(proxied()) == b"no operator %\n"
    assert compile_format("")(proxied()) == b""


def test_missing_values_can_be_left_out() -> None:
    assert compile_format("[%REQ(nope)%%RESPONSE_FLAGS%]", missing=b"")(proxied()) == b"[-]"


def test_one_entry_stays_one_line() -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"x-evil", b"a\r\nb\x00\x1b[31m\x7f\tc")
    for text in ("%REQ(X-EVIL)%", '"%REQ(X-EVIL)%" %RESPONSE_CODE%\n'):
        line = compile_format(text)(info).decode()
        assert r"a\x0d\x0ab\x00\x1b[31m\x7f" + "\tc" in line
        assert line.count("\n") == text.count("\n")


@given(st.lists(st.binary(max_size=20), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_no_value_can_break_a_line(values: list[bytes]) -> None:
    info = proxied()
    assert info.request_headers is not None
    for name, value in zip((b"x-forwarded-for", b"user-agent", b"x-request-id"), values, strict=True):
        info.request_headers.set(name, value)
    line = compile_format(DEFAULT_FORMAT)(info)
    assert re.fullmatch(rb"[^\x00-\x08\x0a-\x1f\x7f]*\n", line)


def test_white_space_in_details() -> None:
    info = proxied()
    info.response_code_details = "upstream reset {TLS error: a}"
    info.connection.termination_details = "rbac denied it"
    assert compile_format("%RESPONSE_CODE_DETAILS%")(info) == b"upstream_reset_{TLS_error:_a}"
    allowed = compile_format("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%")
    assert allowed(info) == b"upstream reset {TLS error: a}"
    assert compile_format("%CONNECTION_TERMINATION_DETAILS%")(info) == b"rbac_denied_it"


def test_addresses_of_other_kinds() -> None:
    info = proxied()
    info.connection.local_address = InternalAddress("connect_originate", "ep")
    info.connection.remote_address = PipeAddress("/run/s")
    text = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID% %DOWNSTREAM_LOCAL_PORT%"
    assert compile_format(text)(info) == b"envoy://connect_originate/ep ep -"
    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%"
    assert compile_format(text)(info) == b"/run/s /run/s -"
    info.connection.remote_address = SocketAddress("2001:db8::1", 5)
    assert compile_format(text)(info) == b"[2001:db8::1]:5 2001:db8::1 5"


def test_client_behind_a_trusted_proxy() -> None:
    info = proxied()
    info.remote_address = SocketAddress("1.2.3.4", 0)
    text = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"
    assert compile_format(text)(info) == b"1.2.3.4:0 127.0.0.1:50130"


def test_environment_and_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ACCESS_LOG_TEST", "envval")
    monkeypatch.delenv("ACCESS_LOG_NONE", raising=False)
    text = "%ENVIRONMENT(ACCESS_LOG_TEST)% %ENVIRONMENT(ACCESS_LOG_TEST):3% %ENVIRONMENT(ACCESS_LOG_NONE)% %HOSTNAME%"
    assert compile_format(text)(proxied()).decode() == f"envval env - {socket.gethostname()}"


def test_running_stream_has_lasted_until_now() -> None:
    info = proxied()
    info.end_ns = info.last_response_byte_ns = 0
    assert int(compile_format("%DURATION%")(info)) > 0
    assert compile_format("%RESPONSE_TX_DURATION%")(info) == b"-"


def test_times_of_their_own() -> None:
    stamp = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d(Z|[+-]\d{4})")
    for text in ("%EMIT_TIME%", "%EMIT_TIME_LOCAL%", "%START_TIME_LOCAL%"):
        assert stamp.fullmatch(compile_format(text)(proxied()).decode()), text
    render = compile_format("%START_TIME%")
    info = proxied()
    assert render(info) == render(info)
    info.start_s += 60
    assert render(info) == b"2026-11-21T03:40:20.888Z"


def test_unique_id_is_a_new_uuid_each_time() -> None:
    render = compile_format("%UNIQUE_ID%")
    first, second = render(proxied()), render(proxied())
    assert first != second
    assert uuid.UUID(first.decode()).version == 4


@pytest.mark.parametrize(
    ("status", "camel", "snake", "number"),
    [
        (b"0", b"OK", b"OK", b"0"),
        (b"1", b"Canceled", b"CANCELLED", b"1"),
        (b"5", b"NotFound", b"NOT_FOUND", b"5"),
        (b"16", b"Unauthenticated", b"UNAUTHENTICATED", b"16"),
        (b"17", b"17", b"17", b"17"),
        (b"x", b"-1", b"-1", b"-1"),
        (b"", b"Unknown", b"UNKNOWN", b"2"),
    ],
)
def test_grpc_status(status: bytes, camel: bytes, snake: bytes, number: bytes) -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"content-type", b"application/grpc")
    info.response_trailers = Headers([(b"grpc-status", status)])
    assert compile_format("%GRPC_STATUS%")(info) == camel
    assert compile_format("%GRPC_STATUS(CAMEL_STRING)%")(info) == camel
    assert compile_format("%GRPC_STATUS(SNAKE_STRING)%")(info) == snake
    assert compile_format("%GRPC_STATUS(NUMBER)%")(info) == number
    assert compile_format("%GRPC_STATUS_NUMBER%")(info) == number


def test_grpc_status_of_a_response_without_body() -> None:
    info = proxied()
    assert info.request_headers is not None and info.response_headers is not None
    info.request_headers.set(b"content-type", b"application/grpc+proto")
    info.response_headers.set(b"grpc-status", b"14")
    assert compile_format("%GRPC_STATUS%")(info) == b"Unavailable"


def test_grpc_status_where_nobody_gave_one() -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"content-type", b"application/grpc")
    assert compile_format("%GRPC_STATUS%")(info) == b"Unknown"
    info.response_code = 503
    assert compile_format("%GRPC_STATUS%")(info) == b"Unavailable"
    info.response_code = 0  # the client did not wait for a response
    assert compile_format("%GRPC_STATUS%")(info) == b"-"


@pytest.mark.parametrize("content_type", [b"application/grpc-web+proto", b"text/plain"])
def test_only_grpc_has_a_grpc_status(content_type: bytes) -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"content-type", content_type)
    info.response_trailers = Headers([(b"grpc-status", b"0")])
    assert compile_format("%GRPC_STATUS%")(info) == b"-"


CLIENT = PeerMetadata(instance_name="pod-1", namespace="ns", workload="w", cluster="k8s", type="deployment")


def test_peers_in_the_filter_state() -> None:
    info = proxied()
    assert info.upstream is not None
    assert compile_format("%FILTER_STATE(downstream_peer)%")(info) == b"-"
    info.downstream_peer = CLIENT
    info.upstream_peer = PeerMetadata(workload="server")
    assert compile_format("%FILTER_STATE(downstream_peer)%")(info) == (
        b'{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"cluster":"k8s","name":"pod-1",'
        b'"namespace":"ns","type":"deployment","workload":"w"}}'
    )
    assert compile_format("%FILTER_STATE(downstream_peer:TYPED):8%")(info) == b'{"@type"'
    assert compile_format("%FILTER_STATE(downstream_peer_obj:FIELD:workload)%")(info) == b"w"
    assert compile_format("%FILTER_STATE(upstream_peer:FIELD:workload)%")(info) == b"server"
    assert compile_format("%FILTER_STATE(upstream_peer:FIELD:nope)%")(info) == b"-"
    assert compile_format("%FILTER_STATE(downstream_peer_obj:PLAIN)%")(info) == CLIENT.text().encode()
    plain = compile_format("%FILTER_STATE(downstream_peer:PLAIN)%\n")(info)
    assert b"workload" in plain and plain.count(b"\n") == 1
    assert compile_format("%UPSTREAM_FILTER_STATE(upstream_peer)%")(info) == b"-"
    info.upstream.connection_state = UpstreamConnectionState()
    info.upstream.connection_state.upstream_peer = PeerMetadata(workload="tcp server")
    assert compile_format("%UPSTREAM_FILTER_STATE(upstream_peer:FIELD:workload)%")(info) == b"tcp server"


def test_peer_of_the_connection_comes_first() -> None:
    info = proxied()
    info.downstream_peer = PeerMetadata(workload="by header")
    info.connection.downstream_peer = CLIENT
    assert compile_format("%FILTER_STATE(downstream_peer:FIELD:workload)%")(info) == b"w"


def test_every_operator_prints_something_for_every_kind_of_stream() -> None:
    arguments = {
        "REQ": "(a)",
        "RESP": "(a)",
        "TRAILER": "(a)",
        "FAILURE": "(kind)",
        "ENVIRONMENT": "(a)",
        "QUERY_PARAM": "(a)",
        "METADATA": "(ROUTE:a)",
        "DYNAMIC_METADATA": "(a)",
        "CLUSTER_METADATA": "(a)",
        "UPSTREAM_METADATA": "(a)",
        "FILTER_STATE": "(a)",
        "UPSTREAM_FILTER_STATE": "(a)",
        "COMMON_DURATION": "(DS_RX_BEG:US_TX_BEG:ns)",
        "REQ_WITHOUT_QUERY": "(a)",
        "CEL": "(nothing)",
        "TYPED_CEL": "(nothing)",
        "COALESCE": '({"operators": ["PROTOCOL"]})',
    }
    bare = StreamInfo(connection(tls=False), START_S, START_NS)
    for name in OPERATORS:
        operator = f"%{name}{arguments.get(name, '')}%"
        render = compile_format(operator, extensions=tuple(FORMATTERS.values()))
        render_json = compile_json_format({"a": operator}, extensions=tuple(FORMATTERS.values()))
        for info in (proxied(), no_route(), tcp(), bare):
            assert isinstance(render(info), bytes), name
            assert set(json.loads(render_json(info))) == {"a"}, name


def test_ids_of_the_trace() -> None:
    info = proxied()
    assert compile_format("%TRACE_ID% %SPAN_ID%")(info) == b"- -"
    info.trace = TraceOfTests()
    assert (
        compile_format("%TRACE_ID% %SPAN_ID%")(info) == b"0af7651916cd43dd8448eb211c80319c b7ad6b7169203331"
    )


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "(x)",
        "({})",
        '({"operators": []})',
        '({"operators": "x"})',
        '({"operators": [5]})',
        '({"operators": ["NOPE"]})',
        '({"operators": ["REQ"]})',
        '({"operators": [{"param": "x"}]})',
    ],
)
def test_the_first_of_several_needs_a_list_of_operators(argument: str) -> None:
    for compiled in (lambda text: compile_format(text), lambda text: compile_json_format({"v": text})):
        with pytest.raises(FormatError):
            compiled(f"%COALESCE{argument}%")


def test_networks() -> None:
    info = proxied()
    info.connection.local_address = SocketAddress("2001:db8:1::5", 80)
    info.remote_address = SocketAddress("10.1.2.3", 0)
    text = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(32)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%"
    assert compile_format(text)(info) == b"2001:db8::/32 10.1.0.0/16"
    info.connection.local_address = PipeAddress("/x")
    assert compile_format(text)(info) == b"/x 10.1.0.0/16"


@pytest.mark.parametrize(
    "text",
    [
        "%TRACE_ID(x)%",
        "%TLS_JA3_FINGERPRINT:5%",
        "%GRPC_STATUS_NUMBER(x)%",
        "%QUERY_PARAMS(x)%",
        "%CLUSTER_METADATA(a):5%",
        "%UPSTREAM_METADATA(a):5%",
        "%LOCAL_REPLY_BODY(x)%",
    ],
)
def test_refuses_arguments_that_envoy_refuses(text: str) -> None:
    with pytest.raises(FormatError):
        compile_format(text)


@pytest.mark.parametrize("text", ["%PROTOCOL()%", "%DURATION()%", "%TRACE_ID()%", "%DYNAMIC_METADATA(a):5%"])
def test_takes_arguments_that_envoy_takes(text: str) -> None:
    assert compile_format(text)(proxied())


def test_why_a_handshake_failed() -> None:
    info = tcp()
    reason = "TLS_error:|1:SSL routines:OPENSSL_internal:NO_CERT:no cert:TLS_error_end"
    info.connection.transport_failure_reason = info.connection.termination_details = reason
    text = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%"
    assert compile_format(text)(info).decode() == f"{reason.replace(' ', '_')} -"
    info.connection.termination_details = "rbac access denied"
    assert compile_format("%CONNECTION_TERMINATION_DETAILS%")(info) == b"rbac_access_denied"
