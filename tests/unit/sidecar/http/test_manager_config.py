"""What a connection manager compiles from its spec."""

from __future__ import annotations

import pytest

from config.model.http import (
    HeadersWithUnderscoresAction,
    Http1Options,
    PathWithEscapedSlashesAction,
    UpgradeConfig,
)
from protocols.http.codec import UnderscorePolicy
from tests.support.http_floor import HttpFloor, request, route, status_of


def test_codec_settings() -> None:
    floor = HttpFloor(
        [route("/", "web", upgrade_configs={"foo": True})],
        max_request_headers_kb=10,
        max_headers_count=7,
        headers_with_underscores_action=HeadersWithUnderscoresAction.REJECT_REQUEST,
        http1=Http1Options(accept_http_10=True, default_host_for_http_10="d", enable_trailers=True),
        upgrade_configs=(UpgradeConfig("websocket"),),
    )
    settings = floor.config.codec_settings
    assert settings.max_head_bytes == 10 * 1024
    assert settings.max_headers == 7
    assert settings.underscores is UnderscorePolicy.REJECT
    assert settings.accept_http_10
    assert settings.default_host_for_http_10 == b"d"
    assert settings.enable_trailers
    assert settings.allowed_upgrades == {b"websocket", b"foo"}


@pytest.mark.parametrize(
    ("configured", "by_route", "allowed"),
    [
        (None, None, False),
        (True, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
        (None, True, True),
    ],
)
def test_route_counts_more_for_upgrades(
    configured: bool | None, by_route: bool | None, allowed: bool
) -> None:
    upgrades = (UpgradeConfig("websocket", configured),) if configured is not None else ()
    floor = HttpFloor(upgrade_configs=upgrades)
    of_route = {"websocket": by_route} if by_route is not None else None
    assert floor.config.upgrade_allowed(b"websocket", of_route) is allowed


def test_a_client_on_the_loopback_is_forwarded_as_this_machine() -> None:
    floor = HttpFloor([route("/", "web")], local_address="192.0.2.7", use_remote_address=True)
    floor.connect(address="127.0.0.1").send(request())
    assert b"\r\nx-forwarded-for: 192.0.2.7\r\n" in floor.server().take()


@pytest.mark.parametrize(("path", "redirected"), [("/a%2fb", True), ("/a%00", False)])
def test_a_redirect_to_the_normalised_path_is_no_failure(path: str, redirected: bool) -> None:
    action = PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
    floor = HttpFloor([route("/", "web")], path_with_escaped_slashes_action=action, normalize_path=True)
    client = floor.connect()
    client.send(request("GET", path))
    assert status_of(client.take()) == (307 if redirected else 400)
    assert floor.stat("downstream_rq_redirected_with_normalized_path") == redirected
    assert floor.stat("downstream_rq_failed_path_normalization") == (not redirected)


def test_interim_answers_count_for_the_cluster() -> None:
    floor = HttpFloor([route("/", "web")])
    floor.connect().send(request())
    floor.server().send(b"HTTP/1.1 103 X\r\n\r\n")
    assert floor.value("cluster.web.upstream_rq_103") == floor.value("cluster.web.upstream_rq_1xx") == 1


def test_rejected_underscores_are_counted() -> None:
    floor = HttpFloor(headers_with_underscores_action=HeadersWithUnderscoresAction.REJECT_REQUEST)
    client = floor.connect()
    client.send(request("GET", "/", "a_b: c"))
    assert status_of(client.take()) == 400
    assert floor.value("http1.requests_rejected_with_underscores_in_headers") == 1


def test_responses_are_counted_by_class_for_manager_and_listener() -> None:
    floor = HttpFloor()
    for status in (101, 200, 204, 302, 404, 503, 999):
        floor.config.count_response(status)
    expected = {"1xx": 1, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 1, "completed": 7}
    for prefix in ("http.test", "listener.test.http.test"):
        assert {name: floor.value(f"{prefix}.downstream_rq_{name}") for name in expected} == expected


def test_tracing_stats_are_listed() -> None:
    assert "http.test.tracing.client_enabled" in HttpFloor().store.counters
