from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from config.model.core import CidrRange, PipeAddress, SocketAddress
from config.model.http import (
    ForwardClientCertDetails,
    HttpConnectionManagerSpec,
    PathWithEscapedSlashesAction,
)
from config.model.route import RouteConfiguration
from protocols.http.headers import Headers
from sidecar.http.request_headers import RequestRules
from sidecar.http.request_target import ABSOLUTE_PATH_REJECTED, MISSING_HOST, PATH_NORMALIZATION_FAILED
from sidecar.http.router_headers import RouteTimeouts, take_retry_headers, take_timeouts
from sidecar.stream_info import ConnectionInfo, StreamInfo, TlsInfo

OBSERVED = json.loads((Path(__file__).parent / "observed_request_headers.json").read_text())
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LOCAL_IP = "192.0.2.2"


def manager(**settings: Any) -> HttpConnectionManagerSpec:
    return HttpConnectionManagerSpec("test", RouteConfiguration(), (), **settings)


def stream(*, tls: bool = False, peer: str = "127.0.0.1") -> StreamInfo:
    connection = ConnectionInfo(SocketAddress(peer, 40000), SocketAddress("127.0.0.1", 18100))
    if tls:
        connection.tls = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "")
    return StreamInfo(connection, 0.0, 1)


def request(
    *fields: tuple[bytes, bytes], path: bytes = b"/p", host: bytes = b"a.example", scheme: bytes = b""
) -> Headers:
    return Headers.request(b"GET", path, host, fields, scheme)


def as_text(headers: Headers) -> dict[str, str]:
    """The fields, repeated ones joined, a generated request id masked."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers.items():
        name, value = raw_name.decode(), raw_value.decode("latin-1")
        if name == "x-request-id" and UUID4.fullmatch(value) and not value.startswith("00000000"):
            value = "<uuid>"
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


@pytest.mark.parametrize("name", OBSERVED["settings"])
def test_forwards_what_envoy_forwards(name: str) -> None:
    settings = dict(OBSERVED["settings"][name])
    ranges = settings.pop("internal_address_ranges", [])
    rules = RequestRules(
        manager(internal_address_ranges=tuple(CidrRange(*each) for each in ranges), **settings), LOCAL_IP
    )
    # the listener of each setting has a port of its own, from 18100 on
    port = 18100 + list(OBSERVED["settings"]).index(name)
    for case, (forwarded, scheme, client) in OBSERVED["forwarded"][name].items():
        headers = request(*((a.encode(), b.encode()) for a, b in OBSERVED["requests"][case]))
        info = stream()
        info.connection.local_address = SocketAddress("127.0.0.1", port)
        assert rules.apply(headers, info) is None
        take_timeouts(headers, RouteTimeouts(None))
        take_retry_headers(headers)
        found = as_text(headers)
        found.pop("x-envoy-expected-rq-timeout-ms", None)
        logged = info.remote_address or info.connection.remote_address
        assert isinstance(logged, SocketAddress)
        address = f"[{logged.address}]" if ":" in logged.address else logged.address
        assert (found, headers.scheme.decode(), address) == (forwarded, scheme, client), case


def test_client_that_is_not_on_the_loopback_is_named_itself() -> None:
    headers = request()
    RequestRules(manager(use_remote_address=True), LOCAL_IP).apply(headers, stream(peer="203.0.113.9"))
    assert headers.get(b"x-forwarded-for") == b"203.0.113.9"
    assert headers.get(b"x-envoy-external-address") == b"203.0.113.9"


def test_client_on_a_unix_socket_has_no_address_to_forward() -> None:
    headers, info = request(), stream()
    info.connection.remote_address = PipeAddress("@peer")
    assert RequestRules(manager(use_remote_address=True), LOCAL_IP).apply(headers, info) is None
    assert b"x-forwarded-for" not in headers
    assert b"x-envoy-external-address" not in headers


def test_tls_connection_is_https() -> None:
    headers = request()
    RequestRules(manager()).apply(headers, stream(tls=True))
    assert (headers.get(b"x-forwarded-proto"), headers.scheme) == (b"https", b"https")


def test_scheme_of_the_request_stays() -> None:
    headers = request(scheme=b"https")
    RequestRules(manager()).apply(headers, stream())
    assert (headers.get(b"x-forwarded-proto"), headers.scheme) == (b"http", b"https")


def test_internal_only_headers_of_the_route_table_go() -> None:
    headers = request((b"x-secret", b"1"), (b"x-other", b"2"))
    RequestRules(manager()).apply(headers, stream(), (b"x-secret", b"x-absent"))
    assert b"x-secret" not in headers
    assert headers.get(b"x-other") == b"2"


def test_client_cert_header_is_not_believed_without_a_certificate() -> None:
    headers = request((b"x-forwarded-client-cert", b"By=evil"))
    spec = manager(forward_client_cert_details=ForwardClientCertDetails.APPEND_FORWARD)
    RequestRules(spec).apply(headers, stream())
    assert b"x-forwarded-client-cert" not in headers


@pytest.mark.parametrize(
    ("path", "settings", "expected"),
    [
        (b"/public/../admin", {"normalize_path": True}, b"/admin"),
        (b"/public/../admin", {}, b"/public/../admin"),
        (b"//a//b?x=//", {"merge_slashes": True}, b"/a/b?x=//"),
        (b"/a%2fb", {}, b"/a%2fb"),
        (
            b"/a%2Fb?c=%2f",
            {"path_with_escaped_slashes_action": PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD},
            b"/a/b?c=%2f",
        ),
        (b"", {"normalize_path": True}, b""),
    ],
)
def test_path_is_normalised(path: bytes, settings: dict[str, Any], expected: bytes) -> None:
    headers = request(path=path)
    assert RequestRules(manager(**settings)).apply(headers, stream()) is None
    assert headers.path == expected


def test_bad_targets_are_refused_before_anything_is_added() -> None:
    rules = RequestRules(
        manager(
            normalize_path=True,
            path_with_escaped_slashes_action=PathWithEscapedSlashesAction.REJECT_REQUEST,
        )
    )
    for path, refusal in (
        (b"*", ABSOLUTE_PATH_REJECTED),
        (b"?x", ABSOLUTE_PATH_REJECTED),
        (b"/a#b", PATH_NORMALIZATION_FAILED),
        (b"/a%00b", PATH_NORMALIZATION_FAILED),
        (b"/a%2fb", PATH_NORMALIZATION_FAILED),
    ):
        headers = request(path=path)
        assert rules.apply(headers, stream()) is refusal, path
        assert len(headers) == 0
    headers = request(host=b"")
    headers.lacks_host = True
    assert rules.apply(headers, stream()) is MISSING_HOST


def test_a_host_that_is_empty_is_a_host() -> None:
    headers = request(host=b"")
    assert RequestRules(manager()).apply(headers, stream()) is None
    assert headers.authority == b""


def test_escaped_slashes_may_redirect() -> None:
    action = PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
    rules = RequestRules(manager(path_with_escaped_slashes_action=action, normalize_path=True))
    refusal = rules.apply(request(path=b"/a%2f..%2Fb?c=%2f"), stream())
    assert refusal is not None
    assert (refusal.status, refusal.location) == (307, b"/b?c=%2f")
    assert rules.apply(request(path=b"/a/b"), stream()) is None


#: Host, with strip_any_host_port, and with strip_matching_host_port and strip_trailing_host_dot on port 18102.
OBSERVED_HOSTS = [
    (b"a.b:80", b"a.b", b"a.b:80"),
    (b"a.b:18102", b"a.b", b"a.b"),
    (b"a.b", b"a.b", b"a.b"),
    (b"a.b.", b"a.b.", b"a.b"),
    (b"a.b.:18102", b"a.b.", b"a.b"),
    (b"a.b.:80", b"a.b.", b"a.b:80"),
    (b"[::1]:18102", b"[::1]", b"[::1]"),
    (b"[::1]:80", b"[::1]", b"[::1]:80"),
    (b"[::1]", b"[::1]", b"[::1]"),
    (b"a:b", b"a:b", b"a:b"),
    (b"a:", b"a:", b"a:"),
    (b"a:18102x", b"a:18102x", b"a:18102x"),
    (b"a..", b"a..", b"a."),
    (b"1.2.3.4.:18102", b"1.2.3.4.", b"1.2.3.4"),
]


@pytest.mark.parametrize(("host", "any_port", "matching_port"), OBSERVED_HOSTS)
def test_host_is_stripped_as_envoy_does(host: bytes, any_port: bytes, matching_port: bytes) -> None:
    for settings, expected in (
        ({"strip_any_host_port": True}, any_port),
        ({"strip_matching_host_port": True, "strip_trailing_host_dot": True}, matching_port),
    ):
        headers, info = request(host=host), stream()
        info.connection.local_address = SocketAddress("127.0.0.1", 18102)
        assert RequestRules(manager(**settings)).apply(headers, info) is None
        assert headers.authority == expected
