from __future__ import annotations

import email.utils
from typing import Any

import pytest

from config.model.http import HttpConnectionManagerSpec, ServerHeaderTransformation
from config.model.route import RouteConfiguration
from protocols.http.headers import Headers
from sidecar.http.response_headers import HttpDate, ResponseRules

NOON = 1_795_262_400.5  # Sat, 21 Nov 2026 12:00:00 GMT


def rules(**settings: Any) -> ResponseRules:
    return ResponseRules(HttpConnectionManagerSpec("t", RouteConfiguration(), (), **settings), lambda: NOON)


def fields(headers: Headers) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers.items()}


def test_date_and_server_are_added() -> None:
    headers = Headers.response(200)
    rules().apply(headers, Headers())
    assert fields(headers) == {"date": "Sat, 21 Nov 2026 12:00:00 GMT", "server": "envoy"}


def test_date_of_the_upstream_stays() -> None:
    headers = Headers.response(200, [(b"date", b"yesterday")])
    rules().apply(headers, None)
    assert headers.get(b"date") == b"yesterday"


@pytest.mark.parametrize(
    ("transformation", "upstream", "expected"),
    [
        (ServerHeaderTransformation.OVERWRITE, None, "me"),
        (ServerHeaderTransformation.OVERWRITE, b"nginx", "me"),
        (ServerHeaderTransformation.APPEND_IF_ABSENT, None, "me"),
        (ServerHeaderTransformation.APPEND_IF_ABSENT, b"nginx", "nginx"),
        (ServerHeaderTransformation.PASS_THROUGH, None, None),
        (ServerHeaderTransformation.PASS_THROUGH, b"nginx", "nginx"),
    ],
)
def test_server(
    transformation: ServerHeaderTransformation, upstream: bytes | None, expected: str | None
) -> None:
    headers = Headers.response(200, [(b"server", upstream)] if upstream is not None else [])
    rules(server_name="me", server_header_transformation=transformation).apply(headers, None)
    assert fields(headers).get("server") == expected


def test_who_forces_a_trace_is_told_the_request_id() -> None:
    headers = Headers.response(200)
    asked = Headers([(b"x-request-id", b"1"), (b"x-envoy-force-trace", b"1")])
    rules().apply(headers, asked)
    assert headers.get(b"x-request-id") == b"1"


def test_via_and_request_id() -> None:
    configured = rules(via="proxy1", always_set_request_id_in_response=True)
    headers = Headers.response(200, [(b"via", b"1.1 a")])
    configured.apply(headers, Headers([(b"x-request-id", b"abc")]))
    assert (headers.get(b"via"), headers.get(b"x-request-id")) == (b"1.1 a, proxy1", b"abc")
    local = Headers.response(400)
    configured.apply(local, None)
    assert (local.get(b"via"), local.get(b"x-request-id")) == (b"proxy1", None)


def test_request_id_is_not_returned_unasked() -> None:
    headers = Headers.response(200)
    rules().apply(headers, Headers([(b"x-request-id", b"abc")]))
    assert b"x-request-id" not in headers


def test_interim_heads_get_only_the_request_id() -> None:
    headers = Headers.response(103)
    configured = rules(via="proxy1", always_set_request_id_in_response=True)
    configured.apply_interim(headers, Headers([(b"x-request-id", b"abc")]))
    assert fields(headers) == {"x-request-id": "abc"}


@pytest.mark.parametrize("second", [0, 951_782_400, 1_709_164_800, 4_102_444_799])
def test_date_is_imf_fixdate(second: int) -> None:
    assert HttpDate(lambda: float(second)).now().decode() == email.utils.formatdate(second, usegmt=True)


def test_date_goes_on() -> None:
    now = [NOON]
    date = HttpDate(lambda: now[0])
    first = date.now()
    now[0] += 0.4
    assert date.now() is first
    now[0] += 0.2
    assert date.now() == b"Sat, 21 Nov 2026 12:00:01 GMT"
