from __future__ import annotations

import json
from typing import Any

import pytest

from config.model.access_log import JsonFormat, TextFormat
from sidecar.stream_info import StreamInfo
from sidecar.telemetry.access_log.format import FormatError
from sidecar.telemetry.access_log.json_format import compile_json_format
from sidecar.telemetry.access_log.log_format import compile_log_format
from tests.support.istio_config import ISTIO_JSON
from tests.unit.sidecar.telemetry.access_log.streams import no_route, proxied, tcp

WITHOUT_QUERY = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"

#: Istio's text format (Istio 1.9 and later).
ISTIO_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)


def line(fields: dict[str, Any], info: StreamInfo, *, omit_empty: bool = False) -> str:
    rendered = compile_json_format(fields, omit_empty=omit_empty)(info).decode()
    json.loads(rendered)
    return rendered.removesuffix("\n")


def test_istio_json_byte_for_byte() -> None:
    assert compile_log_format(JsonFormat(ISTIO_JSON))(proxied()) == (
        b'{"authority":"a.example","bytes_received":4,"bytes_sent":5,"connection_termination_details":null,'
        b'"downstream_local_address":"127.0.0.1:18100","downstream_remote_address":"127.0.0.1:50130","duration":12,'
        b'"method":"POST","path":"/ok/ab?q=1&x=2","protocol":"HTTP/1.1","request_id":'
        b'"3423310d-c5be-4cdb-9a51-e3dbf3b85bea","requested_server_name":null,"response_code":200,'
        b'"response_code_details":"via_upstream","response_flags":"-","route_name":"rt",'
        b'"start_time":"2026-11-21T03:39:20.888Z","upstream_cluster":"up","upstream_host":"127.0.0.1:18180",'
        b'"upstream_local_address":"127.0.0.1:42414","upstream_service_time":"10","upstream_transport_failure_reason":null,'
        b'"user_agent":"ua/1 \xc3\xa9\\tz","x_forwarded_for":null}\n'
    )


def test_istio_text_byte_for_byte() -> None:
    assert compile_log_format(TextFormat(ISTIO_TEXT))(proxied()) == (
        b'[2026-11-21T03:39:20.888Z] "POST /ok/ab?q=1&x=2 HTTP/1.1" 200 - via_upstream - "-" 4 5 12 10 "-" '
        b'"ua/1 \xc3\xa9\tz" "3423310d-c5be-4cdb-9a51-e3dbf3b85bea" "a.example" "127.0.0.1:18180" up 127.0.0.1:42414 '
        b"127.0.0.1:18100 127.0.0.1:50130 - rt\n"
    )
    assert compile_log_format(TextFormat(ISTIO_TEXT))(tcp()) == (
        b'[2026-11-21T03:39:20.888Z] "- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 0 - "-" '
        b'"-" "-" "-" "127.0.0.1:1" dead - 127.0.0.1:18100 127.0.0.1:50130 - -\n'
    )


@pytest.mark.parametrize(
    ("value", "http", "local", "session"),
    [
        ("%RESPONSE_CODE%", "200", "404", "0"),
        ("code %RESPONSE_CODE%", '"code 200"', '"code 404"', '"code 0"'),
        ("%PROTOCOL%", '"HTTP/1.1"', '"HTTP/1.1"', "null"),
        ("%PROTOCOL%/%ROUTE_NAME%", '"HTTP/1.1/rt"', '"HTTP/1.1/-"', '"-/-"'),
        ("%UPSTREAM_REMOTE_PORT%", "18180", "null", "null"),
        ("%METADATA(ROUTE:istio:n)%", "3", "null", "null"),
        ("%METADATA(ROUTE:istio:f)%", "1.5", "null", "null"),
        ("%METADATA(ROUTE:istio:b)%", "true", "null", "null"),
        ("%METADATA(ROUTE:istio:l)%", '[1,"a\\"b"]', "null", "null"),
        ("%METADATA(ROUTE:istio:o)%", '{"a":null,"z":"x"}', "null", "null"),
        ("%METADATA(ROUTE:istio:config)%", '"cfg"', "null", "null"),
        ("l=%METADATA(ROUTE:istio:l)%", '"l=[1,\\"a\\\\\\"b\\"]"', '"l=-"', '"l=-"'),
        ("%CLUSTER_METADATA(istio:k)%", '"cv"', "null", "null"),
        ("%RESPONSE_FLAGS%", '"-"', '"NR"', '"UF,URX"'),
        ("%REQ(X-EMPTY)%", '""', "null", "null"),
        ("%REQ(X-LONG):3%", '"abc"', "null", "null"),
        ("100%%", *['"100%"'] * 3),
        ("", *['""'] * 3),
        (1.5, *["1.5"] * 3),
        (True, *["true"] * 3),
        (None, *["null"] * 3),
        ([[], {}, {"b": 1, "a": "%%s"}], *['[[],{},{"a":"%s","b":1}]'] * 3),
    ],
)
def test_values_have_their_types(value: object, http: str, local: str, session: str) -> None:
    fields = {"v": value}
    assert [line(fields, info) for info in (proxied(), no_route(), tcp())] == [
        f'{{"v":{expected}}}' for expected in (http, local, session)
    ]


@pytest.mark.parametrize(
    ("fields", "http", "session"),
    [
        ({"a": "%PROTOCOL%", "b": 1}, '{"a":"HTTP/1.1","b":1}', '{"b":1}'),
        ({"a": {"b": {"c": "%PROTOCOL%"}}}, '{"a":{"b":{"c":"HTTP/1.1"}}}', "{}"),
        ({"a": ["%PROTOCOL%", None, 1]}, '{"a":["HTTP/1.1",1]}', '{"a":[1]}'),
        ({"a": None, "b": {}, "c": [[]], "d": ""}, '{"c":[[]],"d":""}', '{"c":[[]],"d":""}'),
        ({"a": "%PROTOCOL%."}, '{"a":"HTTP/1.1."}', '{"a":"."}'),
        ({"a": "%REQ(X-EMPTY)%"}, '{"a":""}', "{}"),
        ({"a": "%RESPONSE_FLAGS%"}, '{"a":"-"}', '{"a":"UF,URX"}'),
    ],
)
def test_what_is_missing_can_be_left_out(fields: dict[str, Any], http: str, session: str) -> None:
    assert line(fields, proxied(), omit_empty=True) == http
    assert line(fields, tcp(), omit_empty=True) == session


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", '"plain"'),
        (b'q"b\\s', r'"q\"b\\s"'),
        (b"t\tn\n\x01", r'"t\tn\n\u0001"'),
        ("é€".encode(), '"é€"'),
        (b'\xe9"\\\t', r'"\u00e9\u0022\u005c\u0009"'),
    ],
)
def test_text_from_the_wire_is_escaped(value: bytes, expected: str) -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"x-long", value)
    assert line({"v": "%REQ(X-LONG)%"}, info) == f'{{"v":{expected}}}'
    assert line({"v": "%REQ(X-LONG)%"}, info, omit_empty=True) == f'{{"v":{expected}}}'


def test_a_value_that_reads_null_is_a_text() -> None:
    info = proxied()
    assert info.request_headers is not None
    info.request_headers.set(b"x-long", b"null")
    assert line({"v": "%REQ(X-LONG)%"}, info, omit_empty=True) == '{"v":"null"}'


def test_an_operator_of_a_formatter_needs_it() -> None:
    fields = {"v": "%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%"}
    assert compile_json_format(fields, extensions=(WITHOUT_QUERY,))(proxied()) == b'{"v":"/ok/ab"}\n'
    with pytest.raises(FormatError, match="ReqWithoutQuery"):
        compile_json_format(fields)


@pytest.mark.parametrize("text", ["%NOPE%", "a %NOPE% b", "%REQ()%", "100%", "%DURATION(1)%"])
def test_bad_format_strings_are_refused_wherever_they_stand(text: str) -> None:
    for omit_empty in (False, True):
        with pytest.raises(FormatError):
            compile_json_format({"a": [{"b": text}]}, omit_empty=omit_empty)


def test_text_can_leave_out_what_is_missing() -> None:
    assert (
        compile_log_format(TextFormat("[%PROTOCOL%][%RESPONSE_FLAGS%]", omit_empty=True))(proxied())
        == b"[HTTP/1.1][-]"
    )
    assert (
        compile_log_format(TextFormat("[%PROTOCOL%][%RESPONSE_FLAGS%]", omit_empty=True))(tcp())
        == b"[][UF,URX]"
    )
